import { Button, Menu, Modal } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link } from "react-router";
import { api, must, type Schemas, send } from "../../api/client";
import { peers } from "../../api/queries";
import { currentSession, useMay } from "../../api/session";
import { say, sayProblem } from "../../app/toast";
import { Confirm } from "../../components/Confirm";
import { Icon } from "../../components/Icon";
import { Table } from "../../components/Lists";
import { Badge, Head, Loaded, When } from "../../components/parts";
import { countText } from "../../lib/value";

export function Peers() {
  const query = useQuery(peers);
  const may = useMay("admin");
  const [removing, setRemoving] = useState<Schemas["Peer"] | null>(null);
  const [token, setToken] = useState<Schemas["IssuedToken"] | null>(null);
  const act = async (work: Promise<unknown>, done: string) => {
    try {
      await work;
      say(done);
      await query.refetch();
    } catch (error) {
      sayProblem(error);
    }
  };
  const join = async (role: "voter" | "learner") => {
    try {
      setToken(
        await must(
          api.POST("/api/v1/peers/join-tokens", {
            params: {},
            body: { role, ttl: null } as unknown as Schemas["JoinToken"],
          }),
        ),
      );
    } catch (error) {
      sayProblem(error);
    }
  };
  const leader = query.data?.find((peer) => peer.role === "leader");
  return (
    <>
      <Head
        title="Peers"
        actions={
          may && (
            <>
              <Button
                component="a"
                href="/api/v1/backup"
                download="rscaler.backup"
                leftSection={<Icon name="download" size={14} />}
              >
                Backup
              </Button>
              <Menu position="bottom-end">
                <Menu.Target>
                  <Button leftSection={<Icon name="plus" size={14} />}>Let a peer join</Button>
                </Menu.Target>
                <Menu.Dropdown>
                  <Menu.Item onClick={() => void join("voter")}>As a voter</Menu.Item>
                  <Menu.Item onClick={() => void join("learner")}>As a learner, which does not vote</Menu.Item>
                </Menu.Dropdown>
              </Menu>
            </>
          )
        }
      />
      <Loaded query={query}>
        {(all) => (
          <Table
            label="Peers"
            items={all}
            id={(peer) => peer.id}
            columns={[
              {
                title: "Peer",
                cell: (peer) => (
                  <>
                    <span className="row tight">
                      <span className={`dot tone-${peer.alive ? "ok" : "firing"}`} />
                      <strong>{peer.name}</strong>
                      {currentSession()?.peer === peer.id && <span className="tag">this page</span>}
                    </span>
                    {!peer.alive && <div className="desc">silent</div>}
                  </>
                ),
              },
              {
                title: "Role",
                cell: (peer) => (
                  <>
                    <Badge state={peer.role} bare />
                    {peer.role !== "leader" && peer.wanted_role !== peer.role && (
                      <div className="desc">becomes {peer.wanted_role}</div>
                    )}
                  </>
                ),
              },
              {
                title: "API",
                cell: (peer) => (
                  <a className="mono" href={peer.api}>
                    {peer.api.replace(/^https?:\/\//, "")}
                  </a>
                ),
              },
              { title: "Term", number: true, cell: (peer) => peer.term },
              { title: "Applied", number: true, cell: (peer) => (peer.applied ? countText(peer.applied) : "–") },
              {
                title: "Behind by",
                number: true,
                cell: (peer) => (peer.lag === null || peer.lag === undefined ? "–" : countText(peer.lag)),
              },
              { title: "Nodes", number: true, cell: (peer) => peer.nodes },
              { title: "Tasks", number: true, cell: (peer) => <Link to={`/tasks?peer=${peer.id}`}>{peer.tasks}</Link> },
              { title: "Version", cell: (peer) => peer.version },
              {
                title: "Joined",
                tight: true,
                cell: (peer) => <When at={peer.joined} />,
              },
              ...(may
                ? [
                    {
                      title: "Do",
                      tight: true,
                      cell: (peer: Schemas["Peer"]) => (
                        <Menu position="bottom-end">
                          <Menu.Target>
                            <Button size="compact-xs" aria-label={`Do something with ${peer.name}`}>
                              …
                            </Button>
                          </Menu.Target>
                          <Menu.Dropdown>
                            {peer.role === "voter" && peer.alive && (
                              <Menu.Item
                                onClick={() =>
                                  void act(
                                    must(api.POST("/api/v1/peers/leader", { params: {}, body: { to: peer.id } })),
                                    `${peer.name} leads.`,
                                  )
                                }
                              >
                                Make it the leader
                              </Menu.Item>
                            )}
                            {peer.wanted_role === "learner" ? (
                              <Menu.Item
                                onClick={() =>
                                  void act(
                                    send("POST", `/api/v1/peers/${peer.id}/promote`),
                                    `${peer.name} becomes a voter.`,
                                  )
                                }
                              >
                                Promote to voter
                              </Menu.Item>
                            ) : (
                              <Menu.Item
                                onClick={() =>
                                  void act(
                                    send("POST", `/api/v1/peers/${peer.id}/demote`),
                                    `${peer.name} becomes a learner.`,
                                  )
                                }
                              >
                                Demote to learner
                              </Menu.Item>
                            )}
                            <Menu.Item color="red" onClick={() => setRemoving(peer)}>
                              Remove…
                            </Menu.Item>
                          </Menu.Dropdown>
                        </Menu>
                      ),
                    },
                  ]
                : []),
            ]}
          />
        )}
      </Loaded>
      <Confirm
        open={removing !== null}
        title={`Remove ${removing?.name}?`}
        text="It takes no part any more, and its data is of no use. A machine that comes back joins with a new token."
        verb="Remove"
        onClose={() => setRemoving(null)}
        onYes={() => act(send("DELETE", `/api/v1/peers/${removing?.id}`), `${removing?.name} is removed.`)}
      />
      <Modal opened={token !== null} onClose={() => setToken(null)} title="On the machine of the new peer" size="lg">
        <div className="stack">
          <p>The token works once. Give the machine its own addresses:</p>
          <pre
            className="block"
            tabIndex={0}
          >{`rscaler server --data-dir /var/lib/rscaler --api HOST:7700 --peer HOST:7701 --join ${leader?.peer ?? "PEER"} --join-token ${token?.token}`}</pre>
          <p className="quiet small">
            It ends <When at={token?.expires} />.
          </p>
        </div>
      </Modal>
    </>
  );
}
