/** What is configured, and who did what: a form for every kind, and the control plane itself. */
export { Admin } from "./Admin";
export { Events } from "./Events";
export { ObjectPage } from "./ObjectPage";
export { Objects } from "./Objects";
export { Peers } from "./Peers";
export { SettingsPage } from "./Settings";
