/** What is done: runs, tasks and their output. */
export { NewRun } from "./NewRun";
export { RunPage } from "./RunPage";
export { Runs } from "./Runs";
export { TaskPage } from "./TaskPage";
export { Tasks } from "./Tasks";
