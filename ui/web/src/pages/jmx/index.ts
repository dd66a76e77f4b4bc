/** What JVMs offer. */
export { JvmPage } from "./JvmPage";
