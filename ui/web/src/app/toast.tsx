import { type ReactNode, useSyncExternalStore } from "react";
import { ApiError } from "../api/client";

interface Toast {
  id: number;
  text: ReactNode;
  bad: boolean;
}

let toasts: Toast[] = [];
let next = 1;
const listeners = new Set<() => void>();

function become(change: Toast[]): void {
  toasts = change;
  for (const listener of listeners) {
    listener();
  }
}

/** Says something in passing. */
export function say(text: ReactNode, bad = false): void {
  const id = next;
  next += 1;
  become([...toasts.slice(-3), { id, text, bad }]);
  setTimeout(() => become(toasts.filter((toast) => toast.id !== id)), bad ? 9000 : 5000);
}

/** Says what went wrong, in the API's words. */
export function sayProblem(error: unknown): void {
  const fields = error instanceof ApiError ? error.fields.map((field) => field.detail).join("; ") : "";
  say(fields || (error instanceof Error ? error.message : String(error)), true);
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function Toasts() {
  const shown = useSyncExternalStore(subscribe, () => toasts);
  return (
    <div className="toasts" role="status" aria-live="polite">
      {shown.map((toast) => (
        <div key={toast.id} className={toast.bad ? "toast bad" : "toast"}>
          <span>{toast.text}</span>
        </div>
      ))}
    </div>
  );
}
