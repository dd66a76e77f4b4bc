import { Menu, useMantineColorScheme } from "@mantine/core";
import { logOut, useSession } from "../api/session";
import { Icon } from "../components/Icon";
import { setPrefs, usePrefs } from "./prefs";

/** Who is logged in, and how they like the page. */
export function UserMenu() {
  const session = useSession();
  const { zone } = usePrefs();
  const { colorScheme, setColorScheme } = useMantineColorScheme();
  if (session.phase !== "in") {
    return null;
  }
  const who = session.session.actor.split("/")[1] ?? "";
  return (
    <Menu position="top-start" width={220}>
      <Menu.Target>
        <button type="button" className="item">
          <Icon name="user" />
          <span className="cut">{who}</span>
          <span className="push small">{session.session.role}</span>
        </button>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Label>Times</Menu.Label>
        {(["local", "utc"] as const).map((one) => (
          <Menu.Item
            key={one}
            closeMenuOnClick={false}
            rightSection={zone === one && <Icon name="check" />}
            onClick={() => setPrefs({ zone: one })}
          >
            {one === "local" ? `Local (${Intl.DateTimeFormat().resolvedOptions().timeZone})` : "UTC"}
          </Menu.Item>
        ))}
        <Menu.Label>Appearance</Menu.Label>
        {(["auto", "light", "dark"] as const).map((one) => (
          <Menu.Item
            key={one}
            closeMenuOnClick={false}
            rightSection={colorScheme === one && <Icon name="check" />}
            onClick={() => setColorScheme(one)}
          >
            {{ auto: "As the system", light: "Light", dark: "Dark" }[one]}
          </Menu.Item>
        ))}
        <Menu.Divider />
        <Menu.Item component="a" href="/api/docs">
          The API, to be read
        </Menu.Item>
        <Menu.Item onClick={() => void logOut()}>Log out</Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}
