import { useEffect, useRef } from "react";
import { useNavigate } from "react-router";
import { useMay } from "../api/session";
import { MORE, PLACES } from "./places";

function isTyping(target: EventTarget | null): boolean {
  return (
    target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName))
  );
}

/** How long after `g` the second key may come. */
const CHORD_MS = 1500;

/** The keys that work everywhere but where one types. */
export function useKeys(find: () => void, help: () => void): void {
  const navigate = useNavigate();
  const chord = useRef(0);
  const mayRun = useMay("operator");
  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      if (event.metaKey && event.key === "k") {
        event.preventDefault();
        find();
        return;
      }
      if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) {
        return;
      }
      if (Date.now() - chord.current < CHORD_MS) {
        const place = [...PLACES, ...MORE].find((one) => one.key === event.key);
        chord.current = 0;
        if (place) {
          event.preventDefault();
          void navigate(place.to);
          return;
        }
      }
      if (event.key === "g") {
        chord.current = Date.now();
      } else if (event.key === "/") {
        event.preventDefault();
        find();
      } else if (event.key === "?") {
        help();
      } else if (event.key === "c" && mayRun) {
        void navigate("/run");
      }
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, [find, help, navigate, mayRun]);
}
