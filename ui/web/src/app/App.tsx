import { Button, createTheme, MantineProvider } from "@mantine/core";
import { QueryClientProvider } from "@tanstack/react-query";
import { type ComponentType, lazy, Suspense, useEffect } from "react";
import { createBrowserRouter, Link, RouterProvider, useRouteError } from "react-router";
import { onTrouble } from "../api/client";
import { client } from "../api/queries";
import { ended, resume, useSession } from "../api/session";
import { Empty, Head, Trouble, Wait } from "../components/parts";
import { Login } from "../pages/Login";
import { Overview } from "../pages/overview/Overview";
import { Shell } from "./Shell";
import { Toasts } from "./toast";

const theme = createTheme({
  fontFamily: "var(--sans)",
  fontFamilyMonospace: "var(--mono)",
  defaultRadius: 6,
  fontSizes: { xs: "12px", sm: "13px", md: "13.5px", lg: "15px", xl: "18px" },
  primaryColor: "blue",
  cursorType: "pointer",
  focusRing: "auto",
  respectReducedMotion: true,
  components: {
    Button: Button.extend({ defaultProps: { size: "xs", variant: "default" } }),
    ActionIcon: { defaultProps: { variant: "subtle", color: "gray", size: 30 } },
    TextInput: { defaultProps: { size: "sm" } },
    Select: { defaultProps: { size: "sm", allowDeselect: false, checkIconPosition: "right" } },
    Tooltip: { defaultProps: { openDelay: 400, withArrow: true, fz: 12 } },
    Modal: {
      defaultProps: {
        closeButtonProps: { "aria-label": "Close" },
        radius: 10,
        transitionProps: { duration: 120 },
        overlayProps: { opacity: 0.45 },
      },
    },
    Menu: { defaultProps: { shadow: "md", transitionProps: { duration: 80 } } },
  },
});

/** A page of its own file, loaded when somebody goes there. */
function page<M>(load: () => Promise<M>, pick: (module: M) => ComponentType) {
  const Page = lazy(async () => ({ default: pick(await load()) }));
  return (
    <Suspense fallback={<Wait lines={5} />}>
      <Page />
    </Suspense>
  );
}

function Broken() {
  const error = useRouteError();
  return (
    <main>
      <Head title="Something went wrong here" />
      <Trouble error={error} />
      <p className="row">
        <Button onClick={() => location.reload()}>Load the page again</Button>
        <a className="link" href="/">
          Overview
        </a>
      </p>
    </main>
  );
}

function Nowhere() {
  return (
    <>
      <Head title="There is no such page" />
      <Empty title="Perhaps it was renamed or deleted.">
        <Link to="/" className="link">
          Overview
        </Link>
      </Empty>
    </>
  );
}

// One file for each area, so that going on within it loads nothing.
const monitor = () => import("../pages/monitor");
const triggers = () => import("../pages/triggers");
const control = () => import("../pages/control");
const admin = () => import("../pages/admin");
const jmx = () => import("../pages/jmx");

const router = createBrowserRouter([
  {
    element: <Shell />,
    errorElement: <Broken />,
    children: [
      {
        errorElement: <Broken />,
        children: [
          { index: true, element: <Overview /> },
          { path: "monitor", element: page(monitor, (m) => m.Monitor) },
          { path: "outputs", element: page(monitor, (m) => m.Outputs) },
          { path: "triggers", element: page(triggers, (m) => m.Triggers) },
          { path: "triggers/:name", element: page(triggers, (m) => m.TriggerPage) },
          { path: "run", element: page(control, (m) => m.NewRun) },
          { path: "runs", element: page(control, (m) => m.Runs) },
          { path: "runs/:ids", element: page(control, (m) => m.RunPage) },
          { path: "tasks", element: page(control, (m) => m.Tasks) },
          { path: "tasks/:id", element: page(control, (m) => m.TaskPage) },
          { path: "nodes/:node/jvms/:jvm", element: page(jmx, (m) => m.JvmPage) },
          { path: "events", element: page(admin, (m) => m.Events) },
          { path: "peers", element: page(admin, (m) => m.Peers) },
          { path: "admin", element: page(admin, (m) => m.Admin) },
          { path: "admin/settings", element: page(admin, (m) => m.SettingsPage) },
          { path: "admin/:kind", element: page(admin, (m) => m.Objects) },
          { path: "admin/:kind/:name", element: page(admin, (m) => m.ObjectPage) },
          { path: "*", element: <Nowhere /> },
        ],
      },
    ],
  },
]);

onTrouble(ended, () => {});

function Gate() {
  const session = useSession();
  useEffect(() => {
    void resume();
  }, []);
  if (session.phase === "asking") {
    return null;
  }
  if (session.phase === "out") {
    return <Login why={session.why} />;
  }
  return <RouterProvider router={router} />;
}

export function App() {
  return (
    <MantineProvider theme={theme} defaultColorScheme="auto">
      <QueryClientProvider client={client}>
        <Gate />
        <Toasts />
      </QueryClientProvider>
    </MantineProvider>
  );
}
