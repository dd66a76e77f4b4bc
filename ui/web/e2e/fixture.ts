import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { AxeBuilder } from "@axe-core/playwright";
import { test as base, expect, type Page } from "@playwright/test";

interface Plan {
  peers: { name: string; api: string; pid: number }[];
  token: string;
  /** The programme. */
  binary: string;
}

export const plan: Plan = JSON.parse(process.env["RSCALER_UI_TEST"] ?? '{"peers":[],"token":"","binary":""}');
export const PASSWORD = "correct horse battery";
const SHOTS = process.env["RSCALER_UI_SHOTS"] ?? "node_modules/.e2e-shots";

export function peer(at: number): string {
  return plan.peers[at]?.api ?? "";
}

/** What the browser complains of, while a test does not expect it. */
export const test = base.extend<{ complaints: string[] }>({
  complaints: [
    async ({ page }, use) => {
      const complaints: string[] = [];
      page.on("pageerror", (error) => complaints.push(`exception: ${error.message}`));
      page.on("console", (message) => {
        if (message.type() === "error" || message.type() === "warning") {
          complaints.push(`${message.type()}: ${message.text()} (${message.location().url}, on ${page.url()})`);
        }
      });
      await use(complaints);
      expect(complaints, "the browser has nothing to complain of").toEqual([]);
    },
    { auto: true },
  ],
});

export async function logIn(page: Page, user: string, at = 0, path = "/"): Promise<void> {
  await page.goto(peer(at) + path);
  await page.getByRole("textbox", { name: "User" }).fill(user);
  await page.getByRole("textbox", { name: "Password" }).fill(PASSWORD);
  await page.getByRole("button", { name: "Log in" }).click();
  await expect(page.getByRole("navigation", { name: "Main" })).toBeAttached();
}

/** What is serious for those who cannot see, hear or point; by all rules of WCAG 2.2 AA, or by some. */
export async function barriers(page: Page, rules?: string[]): Promise<string[]> {
  const axe = new AxeBuilder({ page });
  const found = await (rules
    ? axe.withRules(rules)
    : axe.withTags(["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"])
  ).analyze();
  const serious = found.violations.filter((one) => one.impact === "serious" || one.impact === "critical");
  const where = new URL(page.url()).pathname;
  return serious.map((one) => `${where} ${one.id}: ${one.help}\n  ${one.nodes.map((node) => node.html).join("\n  ")}`);
}

export async function accessible(page: Page): Promise<void> {
  expect(await barriers(page)).toEqual([]);
}

export async function shot(page: Page, name: string): Promise<void> {
  mkdirSync(SHOTS, { recursive: true });
  await page.screenshot({ path: join(SHOTS, `${name}.png`), animations: "disabled" });
}

/** Asks a peer directly, as an admin's program would. */
export async function ask(method: string, path: string, body?: unknown, at = 1): Promise<Response> {
  return fetch(`${peer(at)}/api/v1/${path}`, {
    method,
    headers: { authorization: `Bearer ${plan.token}`, "content-type": "application/json" },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
}

export { expect };
