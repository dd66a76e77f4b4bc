/** What is measured: graphs, numbers, and what scripts printed last. */
export { Monitor } from "./Monitor";
export { Outputs } from "./Outputs";
