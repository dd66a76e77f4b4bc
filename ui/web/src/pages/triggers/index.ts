/** What is decided: triggers, how they stand, and how they would have stood. */
export { TriggerPage } from "./TriggerPage";
export { Triggers } from "./Triggers";
