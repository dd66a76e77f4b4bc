import { ActionIcon, Modal } from "@mantine/core";
import { useEffect, useRef, useState } from "react";
import { Link, Outlet, useLocation } from "react-router";
import { useLiveUpdates } from "../api/live";
import { useMay } from "../api/session";
import { Brand, Icon } from "../components/Icon";
import { Connection, Trouble } from "./Connection";
import { Finder } from "./Finder";
import { useKeys } from "./keys";
import { Clusters, Item } from "./Navigation";
import { KEYS, MORE, PLACES } from "./places";
import { UserMenu } from "./UserMenu";

export function Shell() {
  useLiveUpdates();
  const [open, setOpen] = useState(false);
  const [finding, setFinding] = useState(false);
  const [helping, setHelping] = useState(false);
  const mayRun = useMay("operator");
  const { pathname } = useLocation();
  const first = useRef(true);
  useKeys(
    () => setFinding(true),
    () => setHelping(true),
  );
  // biome-ignore lint/correctness/useExhaustiveDependencies: a new page begins at its top
  useEffect(() => {
    if (!first.current) {
      scrollTo(0, 0);
      document.getElementById("content")?.focus({ preventScroll: true });
    }
    first.current = false;
  }, [pathname]);
  const close = () => setOpen(false);
  return (
    <div className="frame">
      <a href="#content" className="skip">
        To the content
      </a>
      <div className="topbar">
        <ActionIcon aria-label="Menu" aria-expanded={open} onClick={() => setOpen(!open)}>
          <Icon name={open ? "close" : "menu"} />
        </ActionIcon>
        <Brand />
        <ActionIcon className="push" aria-label="Search" onClick={() => setFinding(true)}>
          <Icon name="search" />
        </ActionIcon>
      </div>
      {/* biome-ignore lint/a11y/noStaticElementInteractions: a click beside the menu closes it; the button does, too */}
      {/* biome-ignore lint/a11y/useKeyWithClickEvents: Escape and the button do */}
      {open && <div className="veil" onClick={close} />}
      <nav className={open ? "side open" : "side"} aria-label="Main">
        <Link to="/" onClick={close} aria-label="rscaler, overview">
          <Brand />
        </Link>
        <button type="button" className="item" onClick={() => setFinding(true)}>
          <Icon name="search" />
          Search
          <kbd>/</kbd>
        </button>
        {mayRun && (
          <Link to="/run" className="item" onClick={close}>
            <Icon name="run" />
            Run a command
            <kbd>c</kbd>
          </Link>
        )}
        <h2>Watch</h2>
        {PLACES.map((place) => (
          <Item key={place.to} place={place} onGo={close} />
        ))}
        <Clusters onGo={close} />
        <h2>Manage</h2>
        {MORE.map((place) => (
          <Item key={place.to} place={place} onGo={close} />
        ))}
        <div className="foot">
          <Connection />
          <UserMenu />
        </div>
      </nav>
      <div>
        <Trouble />
        <main id="content" tabIndex={-1} style={{ outline: "none" }}>
          <Outlet />
        </main>
      </div>
      <Finder open={finding} onClose={() => setFinding(false)} />
      <Modal opened={helping} onClose={() => setHelping(false)} title="Keys" size="sm">
        <dl className="facts" style={{ gridTemplateColumns: "90px 1fr" }}>
          {KEYS.map(([key, what]) => (
            <div key={key} style={{ display: "contents" }}>
              <dt>
                <kbd>{key}</kbd>
              </dt>
              <dd>{what}</dd>
            </div>
          ))}
          {[...PLACES, ...MORE].map((place) => (
            <div key={place.to} style={{ display: "contents" }}>
              <dt>
                <kbd>g</kbd> <kbd>{place.key}</kbd>
              </dt>
              <dd>{place.text}</dd>
            </div>
          ))}
        </dl>
      </Modal>
    </div>
  );
}
