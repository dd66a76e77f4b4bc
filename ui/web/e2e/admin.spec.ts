import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { accessible, ask, expect, logIn, PASSWORD, peer, plan, shot, test } from "./fixture";

const logOut = async (page: import("@playwright/test").Page, who: RegExp) => {
  await page.getByRole("button", { name: who }).click();
  await page.getByRole("menuitem", { name: "Log out" }).click();
  await expect(page.getByRole("button", { name: "Log in" })).toBeVisible();
};

test("a user is made, given another role and password, and deleted while logged in", async ({
  page,
  browser,
  complaints,
}) => {
  await logIn(page, "ada", 0, "/admin/users/+new");
  await page.getByLabel("Name").fill("ines");
  await page.getByLabel("Password", { exact: true }).fill("short");
  await page.getByRole("button", { name: "Make the user" }).click();
  const wrong = page.locator(".mantine-InputWrapper-root", { hasText: "Password" });
  await expect(wrong.locator(".mantine-InputWrapper-error")).toBeVisible();
  complaints.splice(0);
  await accessible(page);
  await page.getByLabel("Password", { exact: true }).fill(PASSWORD);
  await page.getByRole("button", { name: "Make the user" }).click();
  await expect(page).toHaveURL(/users\/ines$/);
  await shot(page, "user");
  const theirs = await (await browser.newContext()).newPage();
  await logIn(theirs, "ines");
  await expect(theirs.getByRole("link", { name: "Run a command" })).toHaveCount(0);
  await page.getByLabel("Role").first().click();
  await page.getByRole("option", { name: "operator" }).click();
  await page.getByRole("button", { name: "Save" }).click();
  const version = async () => (await (await ask("GET", "users/ines?consistency=linearizable")).json()).version;
  await expect.poll(version).toBe(2);
  // A session has the rights that its user had; the next one has the new ones.
  await page.getByLabel("Password", { exact: true }).fill("another horse entirely");
  await page.getByRole("button", { name: "Save" }).click();
  await expect.poll(version).toBe(3);
  await theirs.reload();
  await expect(theirs.getByRole("button", { name: "Log in" })).toBeVisible();
  await theirs.getByRole("textbox", { name: "User" }).fill("ines");
  await theirs.getByRole("textbox", { name: "Password" }).fill("another horse entirely");
  await theirs.getByRole("button", { name: "Log in" }).click();
  await expect(theirs.getByRole("link", { name: "Run a command" }).first()).toBeVisible();
  await page.getByRole("button", { name: "Delete" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
  await expect(page.getByText("ines is deleted.")).toBeVisible();
  await theirs.reload();
  await expect(theirs.getByRole("button", { name: "Log in" })).toBeVisible();
  await theirs.context().close();
});

test("a token is made with its end, works, is listed, and is taken back", async ({ page }) => {
  await logIn(page, "ada", 0, "/admin/tokens/+new");
  await page.getByLabel("Name").fill("build");
  await page.getByLabel("Role").first().click();
  await page.getByRole("option", { name: "operator" }).click();
  await page.getByLabel("Expires").fill("1h");
  await page.getByRole("button", { name: "Make the token" }).click();
  const token = (await page.getByRole("dialog").locator("pre").textContent()) ?? "";
  const status = async () =>
    (await fetch(`${peer(1)}/api/v1/whoami`, { headers: { authorization: `Bearer ${token}` } })).status;
  await expect.poll(status).toBe(200);
  await page.getByRole("dialog").getByRole("button", { name: "Close" }).click();
  const table = page.getByRole("table", { name: "Tokens" });
  await expect(table.locator("tr", { hasText: "build" })).toContainText(/in 5\d min/);
  await shot(page, "tokens");
  await page.getByRole("button", { name: "Who is logged in" }).click();
  await expect(table).toContainText("user ada");
  await page.goto(`${peer(0)}/admin/tokens/build`);
  await page.getByRole("button", { name: "Delete" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
  await expect(page.getByText("build is deleted.")).toBeVisible();
  await expect.poll(status).toBe(401);
});

test("host keys are shown, and forgotten after a question", async ({ page }) => {
  await logIn(page, "ada", 0, "/admin/nodes/web02?view=keys");
  await expect(page.locator("pre.block").first()).toContainText(/ssh-|ecdsa/);
  await page.getByRole("button", { name: "Forget them" }).click();
  await accessible(page);
  await page.getByRole("dialog").getByRole("button", { name: "Forget" }).click();
  // The host is met again within a second, and its key accepted, as its profile says.
  await expect(page.getByRole("dialog")).toHaveCount(0);
  const events = await (await ask("GET", "events?type=host-key&name=web02")).json();
  expect(events.items.length).toBeGreaterThan(0);
});

test("settings are refused where they are wrong, and kept where they are right", async ({ page, complaints }) => {
  await logIn(page, "ada", 0, "/admin/settings");
  const raw = page.getByLabel("Samples as they came are kept for");
  await raw.fill("ten days");
  await page.getByRole("button", { name: "Save" }).click();
  await expect(page.locator(".mantine-InputWrapper-error")).toBeVisible();
  complaints.splice(0);
  await raw.fill("14d");
  await page.getByRole("button", { name: "Save" }).click();
  await expect(page.getByText("The settings are saved.")).toBeVisible();
  await page.reload();
  await expect(raw).toHaveValue("14d");
});

test("documents are applied all at once, after a look at what they would change", async ({ page, complaints }) => {
  await logIn(page, "ada", 0, "/admin");
  await page.getByRole("button", { name: "Apply YAML" }).click();
  const dialog = page.getByRole("dialog");
  const editor = dialog.locator(".cm-content");
  const write = async (text: string) => {
    await editor.click();
    await page.keyboard.press("Control+a");
    await page.keyboard.insertText(text);
  };
  await write("kind: cluster\nname: yard\n---\nkind: counter\nname: seeds\ntype: push\nclusters: [nowhere]\n");
  await dialog.getByRole("button", { name: "What would change?" }).click();
  await expect(dialog.getByRole("alert")).toContainText("nowhere");
  complaints.splice(0);
  await write("kind: cluster\nname: yard\n---\nkind: counter\nname: seeds\ntype: push\nclusters: [yard]\n");
  await dialog.getByRole("button", { name: "What would change?" }).click();
  await expect(dialog.getByRole("table", { name: "What would change" })).toContainText("counter seeds");
  await accessible(page);
  await shot(page, "apply");
  expect((await ask("GET", "clusters/yard?consistency=linearizable")).status).toBe(404);
  await dialog.getByRole("button", { name: "Apply", exact: true }).click();
  await expect(page.getByText("2 changes applied.")).toBeVisible();
  expect((await ask("GET", "counters/seeds?consistency=linearizable")).status).toBe(200);
});

test("maintenance keeps a cluster's triggers still", async ({ page }) => {
  await logIn(page, "ada", 0, "/triggers/busy");
  await page.getByRole("button", { name: "Maintenance" }).click();
  const dialog = page.getByRole("dialog", { name: "Maintenance of web" });
  await dialog.getByText("15m").click();
  await dialog.getByLabel("Why").fill("new disks");
  await accessible(page);
  await dialog.getByRole("button", { name: "Begin" }).click();
  await expect(page.getByText("Triggers of web keep still for 15 min.")).toBeVisible();
  await page.goto(`${peer(0)}/triggers`);
  const row = page.getByRole("table", { name: "Maintenance windows" }).locator("tr", { hasText: "new disks" });
  await row.getByRole("link").first().click();
  await page.getByRole("button", { name: "Delete" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
  await expect(page.getByText(/is deleted\./).first()).toBeVisible();
});

test("a command runs on several nodes that are picked", async ({ page }) => {
  await logIn(page, "otto", 0, "/run");
  await page.getByText("On nodes").click();
  for (const name of ["web00", "web02"]) {
    await page.getByLabel("Nodes", { exact: true }).first().fill(name);
    await page.getByRole("option", { name }).click();
  }
  await page.keyboard.press("Escape");
  await page.getByRole("textbox", { name: "Command" }).fill("echo here; exit 4");
  await page.getByRole("button", { name: "Run on 2 nodes" }).click();
  await expect(page).toHaveURL(/\/runs\/\d+,\d+$/);
  await expect(page.getByRole("log")).toHaveCount(2);
  await expect(page.locator("h1").getByText("failed")).toBeVisible();
  await expect(page.getByText("exit 4")).toHaveCount(2);
  await shot(page, "run-several");
});

test("a backup is saved as a file", async ({ page }) => {
  await logIn(page, "ada", 0, "/peers");
  const saved = page.waitForEvent("download");
  await page.getByRole("link", { name: "Backup" }).click();
  const file = await saved;
  expect(file.suggestedFilename()).toBe("rscaler.backup");
  expect(readFileSync(await file.path()).length).toBeGreaterThan(1000);
});

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

test("a peer joins as the page says, votes, leads, steps back and is removed", async ({ page }) => {
  test.setTimeout(180_000);
  await logIn(page, "ada", 0, "/peers");
  await page.getByRole("button", { name: "Let a peer join" }).click();
  await page.getByRole("menuitem", { name: "As a learner" }).click();
  const told = (await page.getByRole("dialog").locator("pre").textContent()) ?? "";
  await accessible(page);
  await shot(page, "join");
  await page.keyboard.press("Escape");
  const dir = mkdtempSync(join(tmpdir(), "rscaler-"));
  const words = told
    .replace("/var/lib/rscaler", join(dir, "data"))
    .replace("HOST:7700", `127.0.0.1:${await freePort()}`)
    .replace("HOST:7701", `127.0.0.1:${await freePort()}`)
    .split(/\s+/);
  let joined: ChildProcess | null = null;
  try {
    joined = spawn(plan.binary, [...words.slice(1), "--name", "p4"], { stdio: "ignore" });
    const row = page.getByRole("table", { name: "Peers" }).locator("tr", { hasText: "p4" });
    await expect(row).toContainText("learner", { timeout: 60_000 });
    const act = async (what: string, who = "p4") => {
      // The menu of the one before fades out.
      await expect(page.getByRole("menu")).toHaveCount(0);
      await page.getByRole("button", { name: `Do something with ${who}` }).click();
      await page.getByRole("menuitem", { name: what }).click();
    };
    await act("Promote to voter");
    await expect(row).toContainText("voter", { timeout: 60_000 });
    await act("Make it the leader");
    await expect(row).toContainText("leader", { timeout: 30_000 });
    await shot(page, "peers-four");
    await act("Make it the leader", "p1");
    await expect(page.getByRole("table", { name: "Peers" }).locator("tr", { hasText: "p1" })).toContainText("leader", {
      timeout: 30_000,
    });
    await act("Demote to learner");
    await expect(row).toContainText("learner", { timeout: 60_000 });
    await act("Remove…");
    await page.getByRole("dialog").getByRole("button", { name: "Remove" }).click();
    await expect(row).toHaveCount(0, { timeout: 60_000 });
  } finally {
    joined?.kill("SIGKILL");
    rmSync(dir, { recursive: true, force: true });
  }
});

test("who is logged out by an admin is told so", async ({ page, browser, complaints }) => {
  const theirs = await (await browser.newContext()).newPage();
  await logIn(theirs, "otto");
  await logIn(page, "ada", 0, "/admin/tokens?sessions=true");
  const session = page.getByRole("table", { name: "Tokens" }).locator("tr", { hasText: "user otto" }).first();
  await session.getByRole("link").first().click();
  await page.getByRole("button", { name: "Delete" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
  await expect(page.getByText(/is deleted\./).first()).toBeVisible();
  complaints.splice(0);
  await theirs.context().close();
  await logOut(page, /ada/);
});
