import "./style.css";
import { isReady, type Readiness } from "./readiness";

const WORDS: Record<Readiness, string> = {
  ready: "ready",
  unready: "not ready: it knows no leader, or is not caught up",
  silent: "does not answer",
};
const ASK_EVERY_MS = 5000;

const state = document.getElementById("state");
const commands = document.getElementById("commands");
if (commands) {
  commands.textContent = commands.textContent.replace("http://127.0.0.1:7700", location.origin);
}

async function tell(): Promise<void> {
  const readiness = await isReady();
  if (state) {
    state.dataset["state"] = readiness;
    state.textContent = WORDS[readiness];
  }
}

void tell();
setInterval(() => void tell(), ASK_EVERY_MS);
