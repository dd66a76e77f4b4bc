import { accessible, ask, barriers, expect, logIn, peer, shot, test } from "./fixture";

const JVM = "/nodes/web00/jvms/shop";
const at = (mbean: string) => `${JVM}?mbean=${encodeURIComponent(mbean)}`;

test("an MBean is found, read again and again, and made a counter whose graph gets points", async ({ page }) => {
  await logIn(page, "ada", 0, "/admin/nodes/web00");
  await page.getByRole("link", { name: "shop" }).click();
  const tree = page.getByRole("list", { name: "MBeans" });
  await tree.getByRole("button", { name: /^java\.lang/ }).click();
  await tree.getByRole("link", { name: "Memory", exact: true }).click();
  await expect(page).toHaveURL(/mbean=java\.lang%3Atype%3DMemory/);
  const attributes = page.getByRole("table", { name: "Attributes" });
  const used = attributes.locator("tr", { hasText: /^used/ }).first();
  await expect(used).toContainText(/\d\u202f\d{3}/);
  await tree.getByRole("link", { name: "Runtime", exact: true }).click();
  await page.getByRole("radiogroup", { name: "How often it is read" }).getByText("2s").click();
  await expect(page).toHaveURL(/every=2s/);
  const uptime = attributes.locator("tr", { hasText: /^Uptime/ });
  await expect(uptime).toContainText(/\d/);
  const before = await uptime.textContent();
  await expect.poll(() => uptime.textContent()).not.toBe(before);
  await page.goBack();
  await expect(used).toContainText(/\d/);
  await accessible(page);
  await shot(page, "jvm");
  await page.getByRole("button", { name: "Make a counter of HeapMemoryUsage.used" }).click();
  const dialog = page.getByRole("dialog", { name: "Make a counter" });
  await expect(dialog.getByLabel("Name")).toHaveValue("memory-heap-memory-usage-used");
  await expect(dialog.getByLabel("Key")).toHaveValue("used");
  await dialog.getByLabel("Interval").fill("1s");
  await accessible(page);
  await shot(page, "jvm-counter");
  await dialog.getByRole("button", { name: "Make the counter" }).click();
  await expect(page.getByText("memory-heap-memory-usage-used is made.")).toBeVisible();
  await used.getByRole("link", { name: "memory-heap-memory-usage-used" }).click();
  await expect(page).toHaveURL(/node=web00&jvm=shop&counter=memory-heap/);
  await expect(page.getByRole("combobox", { name: "JVM" }).or(page.getByLabel("JVM")).first()).toHaveValue("shop");
  const points = page.getByRole("table", { name: "Series of memory-heap-memory-usage-used" });
  await expect
    .poll(
      async () =>
        Number(
          await points
            .locator("tbody td.n")
            .nth(4)
            .textContent()
            .catch(() => 0),
        ),
      { timeout: 40_000 },
    )
    .toBeGreaterThan(1);
  await page.getByRole("link", { name: "MBeans" }).click();
  await expect(page).toHaveURL(new RegExp(JVM));
});

test("what the API finds wrong with a counter stands at its field", async ({ page, complaints }) => {
  await logIn(page, "ada", 0, at("java.lang:type=Threading"));
  await page.getByRole("button", { name: "Make a counter of PeakThreadCount" }).click();
  const dialog = page.getByRole("dialog", { name: "Make a counter" });
  await dialog.getByLabel("Interval").fill("now and then");
  await dialog.getByRole("button", { name: "Make the counter" }).click();
  const wrong = dialog.locator(".mantine-InputWrapper-root", { hasText: "Interval" });
  await expect(wrong.locator(".mantine-InputWrapper-error")).toBeVisible();
  complaints.splice(0);
  await dialog.getByRole("button", { name: "Leave it" }).click();
  await expect(page.getByRole("link", { name: "threads" })).toBeVisible();
});

test("operations are run after a confirmation, with arguments, and say what they gave", async ({ page }) => {
  await logIn(page, "otto", 0, at("java.lang:type=Memory"));
  await page.getByRole("button", { name: "Run gc" }).click();
  const dialog = page.getByRole("dialog", { name: /gc on web00/ });
  await accessible(page);
  await dialog.getByRole("button", { name: "Run gc" }).click();
  await expect(dialog.getByRole("log")).toContainText("It printed nothing.");
  await dialog.getByRole("button", { name: "Close" }).last().click();
  await page.goto(peer(0) + at("fixture:type=Thing"));
  await page.getByRole("button", { name: "Run greet" }).click();
  const greet = page.getByRole("dialog", { name: /greet on web00/ });
  await greet.getByRole("textbox").nth(0).fill("<b>world</b>");
  await greet.getByRole("textbox").nth(1).fill("2");
  await greet.getByRole("button", { name: "Run greet" }).click();
  await expect(greet.getByRole("log")).toContainText("hello <b>world</b>");
  await shot(page, "jvm-operation");
  await greet.getByRole("link", { name: /^Run \d+$/ }).click();
  await expect(page).toHaveURL(/\/runs\/\d+$/);
  await expect(page.locator("h1").getByText("succeeded")).toBeVisible();
  await page.goto(peer(0) + at("fixture:type=Thing"));
  await page.getByRole("button", { name: "Run fail" }).click();
  const fail = page.getByRole("dialog", { name: /fail on web00/ });
  await fail.getByRole("button", { name: "Run fail" }).click();
  await expect(fail.getByText(/not like this/)).toBeVisible();
});

test("what cannot be read says why, and the rest is there all the same", async ({ page }) => {
  await logIn(page, "otto", 0, at("fixture:type=Thing"));
  const attributes = page.getByRole("table", { name: "Attributes" });
  await expect(attributes.locator("tr", { hasText: "Broken" })).toContainText("it is broken", { timeout: 30_000 });
  await expect(attributes.locator("tr", { hasText: "a.b" })).toContainText("7");
  await expect(attributes.locator("tr", { hasText: "NumberText" })).toContainText("42.5");
  await expect(page.getByRole("button", { name: /Make a counter/ })).toHaveCount(0);
  await accessible(page);
  await shot(page, "jvm-wrong");
});

test("a hundred thousand MBeans are looked through", async ({ page }) => {
  await logIn(page, "otto", 0, at("fixture:type=Thing"));
  await page.getByRole("button", { name: "Run addMany" }).click();
  const dialog = page.getByRole("dialog", { name: /addMany on web00/ });
  await dialog.getByRole("textbox").fill("100000");
  await dialog.getByRole("button", { name: "Run addMany" }).click();
  await expect(dialog.getByRole("log")).toContainText("It printed nothing.", { timeout: 60_000 });
  await page.goto(peer(0) + JVM);
  const began = Date.now();
  const tree = page.getByRole("list", { name: "MBeans" });
  await expect(page.getByText(/100\u202f0\d\d MBeans/)).toBeVisible({ timeout: 30_000 });
  process.stdout.write(`a tree of 100,000 MBeans is there after ${Date.now() - began} ms\n`);
  // What comes after the many in the alphabet is there, too.
  await expect(tree.getByRole("button", { name: /^many/ })).toContainText("100\u202f000");
  await tree.getByRole("button", { name: /^many/ }).click();
  await tree.getByRole("button", { name: "500 more of 100\u202f000" }).click();
  await tree.getByRole("button", { name: /^Small/ }).click();
  await expect(tree.locator(".leaf", { hasText: /^1\d*$/ }).first()).toBeVisible();
  await shot(page, "jvm-many");
  await page.getByRole("textbox", { name: "Search MBeans" }).fill("many:type=Small,number=99999");
  await expect(tree.locator(".leaf")).toHaveCount(1);
  await tree.locator(".leaf").click();
  await expect(page.getByRole("table", { name: "Attributes" })).toContainText("Value");
  await page.getByRole("textbox", { name: "Search MBeans" }).fill("threading");
  await expect(tree.getByRole("link", { name: "Threading" })).toBeVisible();
});

test("a JVM that does not answer says so, and may not be looked into by all", async ({ page, complaints }) => {
  await logIn(page, "otto", 0, "/nodes/web00/jvms/gone");
  await expect(page.getByRole("alert")).toContainText(/gone/, { timeout: 30_000 });
  await shot(page, "jvm-gone");
  complaints.splice(0);
  await page.goto(`${peer(0)}/nodes/web00/jvms/none`);
  await expect(page.getByText("There is no JVM none on web00.")).toBeVisible();
  await page.getByRole("button", { name: /otto/ }).click();
  await page.getByRole("menuitem", { name: "Log out" }).click();
  await logIn(page, "vera", 0, JVM);
  await expect(page.getByText("You may watch its graphs, and not look into the JVM.")).toBeVisible();
  const status = await page.evaluate(async () => (await fetch("/api/v1/nodes/web00/jvms/shop/mbeans")).status);
  expect(status).toBe(403);
  complaints.splice(0);
  await accessible(page);
});

test("JVMs are picked in monitoring, by cluster and by node", async ({ page }) => {
  await logIn(page, "vera", 0, "/monitor?cluster=web");
  const picker = page
    .getByRole("combobox", { name: "JVM" })
    .or(page.getByLabel("JVM", { exact: true }))
    .first();
  await picker.click();
  await page.getByRole("option", { name: "shop" }).click();
  await expect(page).toHaveURL(/jvm=shop/);
  await expect(page.getByRole("link", { name: "threads", exact: true })).toBeVisible();
  await expect(page.getByRole("link", { name: "load", exact: true })).toHaveCount(0);
  await expect(page.locator(".graph", { hasText: "threads" }).locator(".legend button").first()).toBeVisible();
});

test("an operation is kept as an action, and run as one", async ({ page }) => {
  await logIn(page, "ada", 0, at("java.lang:type=Memory"));
  await page.getByRole("button", { name: "Run gc" }).click();
  await page.getByRole("button", { name: "Keep it as an action" }).click();
  await expect(page.getByLabel("Name")).toHaveValue("memory-gc");
  await expect(page.getByLabel("Mbean").or(page.getByLabel("MBean"))).toHaveValue("java.lang:type=Memory");
  await accessible(page);
  await shot(page, "jmx-action");
  await page.getByRole("button", { name: "Make the action" }).click();
  await expect(page).toHaveURL(/actions\/memory-gc$/);
  expect(await (await ask("GET", "actions/memory-gc?consistency=linearizable")).json()).toMatchObject({
    type: "jmx-invoke",
    operation: "gc",
    jvm: "shop",
  });
  await page.getByRole("link", { name: "Run", exact: true }).click();
  await page.getByText("On nodes").click();
  await page.getByLabel("Nodes", { exact: true }).first().fill("web00");
  await page.getByRole("option", { name: "web00" }).click();
  await page.getByRole("button", { name: "Run on 1 node" }).click();
  await expect(page.locator("h1").getByText("succeeded")).toBeVisible();
});

for (const [name, width, theme] of [
  ["light", 1440, "light"],
  ["small", 360, "dark"],
] as const) {
  test(`the MBeans of a JVM, ${name}`, async ({ page }) => {
    await logIn(page, "ada");
    await page.emulateMedia({ colorScheme: theme });
    await page.setViewportSize({ width, height: width > 400 ? 900 : 740 });
    for (const [which, path] of [
      ["tree", `${JVM}?search=memory`],
      ["one", at("java.lang:type=Memory")],
    ] as const) {
      await page.goto(peer(0) + path);
      await expect(page.getByText(which === "tree" ? /of 100/ : "HeapMemoryUsage").first()).toBeVisible();
      await expect(page.locator(".wait")).toHaveCount(0);
      const beyond = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      expect(beyond).toBeLessThanOrEqual(0);
      expect(await barriers(page)).toEqual([]);
      await shot(page, `jvm-${which}-${name}`);
    }
  });
}
