import type { Schemas } from "./client";

/** Kinds of configuration objects: how they are called in paths and in words, and where their schema is. */
export const KINDS = {
  cluster: { path: "clusters", title: "Clusters", one: "cluster", schema: "Cluster" },
  node: { path: "nodes", title: "Nodes", one: "node", schema: "Node" },
  counter: { path: "counters", title: "Counters", one: "counter", schema: "Counter" },
  trigger: { path: "triggers", title: "Triggers", one: "trigger", schema: "Trigger" },
  action: { path: "actions", title: "Actions", one: "action", schema: "Action" },
  "maintenance-window": {
    path: "maintenance-windows",
    title: "Maintenance windows",
    one: "maintenance window",
    schema: "MaintenanceWindow",
  },
  "ssh-profile": { path: "ssh-profiles", title: "SSH profiles", one: "SSH profile", schema: "SshProfile" },
  "jvm-profile": { path: "jvm-profiles", title: "JVM profiles", one: "JVM profile", schema: "JvmProfile" },
  file: { path: "files", title: "Files", one: "file", schema: "File" },
  secret: { path: "secrets", title: "Secrets", one: "secret", schema: "Secret" },
  user: { path: "users", title: "Users", one: "user", schema: "User" },
  token: { path: "tokens", title: "Tokens", one: "token", schema: "Token" },
} as const;

export type Kind = keyof typeof KINDS;

/** What every object has. */
export interface Document {
  name: string;
  description?: string;
  labels?: Record<string, string>;
  version?: number;
  created?: string;
  updated?: string;
  [field: string]: unknown;
}

export interface Objects {
  cluster: Schemas["Cluster"];
  node: Schemas["Node"];
  counter: Schemas["Counter"];
  trigger: Schemas["Trigger"];
  action: Schemas["Action"];
  "maintenance-window": Schemas["MaintenanceWindow"];
  "ssh-profile": Schemas["SshProfile"];
  "jvm-profile": Schemas["JvmProfile"];
  file: Schemas["File"];
  secret: Schemas["Secret"];
  user: Schemas["User"];
  token: Schemas["Token"];
}

export function kindOfPath(path: string | undefined): Kind | null {
  const found = Object.entries(KINDS).find(([, kind]) => kind.path === path);
  return found ? (found[0] as Kind) : null;
}
