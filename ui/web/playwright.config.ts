import { existsSync } from "node:fs";
import { defineConfig } from "@playwright/test";

const CHROMIUM = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(existsSync);
const QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"];

/** Real peers and hosts are started by `tests/cluster/ui.rs`, which runs this. */
export default defineConfig({
  testDir: "e2e",
  outputDir: "node_modules/.e2e",
  workers: 1,
  fullyParallel: false,
  timeout: 60_000,
  expect: { timeout: 15_000 },
  reporter: [["list"]],
  use: {
    viewport: { width: 1440, height: 900 },
    colorScheme: "dark",
    launchOptions: {
      ...(CHROMIUM ? { executablePath: CHROMIUM } : {}),
      args: [...QUIET, "--disable-component-update", "--disable-sync"],
    },
  },
});
