import "./style.css";

/** What the peer says of itself, in words. */
async function readiness(): Promise<string> {
  try {
    const answer = await fetch("/readyz", { signal: AbortSignal.timeout(5000) });
    return answer.ok ? "It is ready." : "It is not ready: it knows no leader, or is not caught up.";
  } catch {
    return "It does not answer.";
  }
}

const place = document.getElementById("state");
if (place) {
  void readiness().then((text) => {
    place.textContent = text;
  });
}
