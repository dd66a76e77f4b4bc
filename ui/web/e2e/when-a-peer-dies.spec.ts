import { expect, logIn, peer, plan, shot, test } from "./fixture";

const GRAPH = "/monitor?cluster=web&counter=load&from=-5m";

// The last of the files: nobody starts the peer again.
test("when its peer is killed a page goes on at another, and nobody is logged out, whatever the address", async ({
  page,
  browser,
  complaints,
}) => {
  await logIn(page, "otto", 0, GRAPH);
  await expect(page.locator(".legend button")).toHaveCount(3);
  await expect(page.getByText(/live · 3\/3/)).toBeVisible();
  // Cookies are those of a host: this page comes to one that has never seen it, and shows its ticket.
  const stranger = await (await browser.newContext({ viewport: { width: 1440, height: 900 } })).newPage();
  const begun = peer(0).replace("127.0.0.1", "localhost");
  await stranger.goto(begun + GRAPH);
  await stranger.getByRole("textbox", { name: "User" }).fill("vera");
  await stranger.getByRole("textbox", { name: "Password" }).fill("correct horse battery");
  await stranger.getByRole("button", { name: "Log in" }).click();
  await expect(stranger.getByText(/live · 3\/3/)).toBeVisible();
  expect(await stranger.context().cookies("http://127.0.0.1")).toEqual([]);
  process.kill(plan.peers[0]?.pid ?? 0, "SIGKILL");
  const began = Date.now();
  await expect(page.getByRole("alert")).toContainText("p1 does not answer");
  const told = Date.now() - began;
  await expect.poll(() => new URL(page.url()).origin, { timeout: 30_000 }).not.toBe(peer(0));
  await expect(page.getByRole("heading", { name: "load", exact: true })).toBeVisible();
  expect(page.url()).toContain(GRAPH);
  await expect(page.locator(".legend button")).toHaveCount(3);
  process.stdout.write(
    `the peer's death was told after ${told} ms, and the page went on after ${Date.now() - began} ms\n`,
  );
  await expect(page.getByRole("button", { name: /otto/ })).toBeVisible();
  await expect.poll(() => new URL(stranger.url()).hostname, { timeout: 30_000 }).toBe("127.0.0.1");
  await expect(stranger.getByRole("heading", { name: "load", exact: true })).toBeVisible();
  await expect(stranger.getByRole("button", { name: /vera/ })).toBeVisible();
  // The ticket is used up, and does not stay in the address.
  expect(new URL(stranger.url()).hash).toBe("");
  expect(stranger.url()).toContain(GRAPH);
  complaints.splice(0);
  await shot(page, "failed-over");
});
