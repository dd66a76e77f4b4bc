/** The few pictures that the page uses, 16 × 16, drawn with the colour of the text. */
const PATHS = {
  overview: "M2.5 8.5h3l2-5 2.5 9 2-4h1.5",
  monitor: "M2.5 2.5v11h11M5 10l2.5-3 2 2 3.5-4.5",
  trigger: "M8.7 2 4 9h3.5L7 14l5-7.5H8.4z",
  run: "M4.5 3v10l8-5z",
  runs: "M2.5 4h11M2.5 8h11M2.5 12h6",
  outputs: "M2.5 3.5h11v9h-11zM5 6.5l1.7 1.5L5 9.5M8.5 10h2.5",
  admin: "M2.5 5h6M11.5 5h2M10 3.5v3M2.5 11h2M7.5 11h6M6 9.5v3",
  peers:
    "M8 3.5a1.5 1.5 0 1 0 .01 0M3.5 10a1.5 1.5 0 1 0 .01 0M12.5 10a1.5 1.5 0 1 0 .01 0M7.2 6.3 4.5 10M8.8 6.3l2.7 3.7M5.2 11.5h5.6",
  events: "M8 2.5a5.5 5.5 0 1 0 .01 0M8 5v3.2l2.2 1.3",
  search: "M7 2.5a4.5 4.5 0 1 0 .01 0M10.3 10.3l3.2 3.2",
  menu: "M2.5 4.5h11M2.5 8h11M2.5 11.5h11",
  close: "M4 4l8 8M12 4l-8 8",
  plus: "M8 3v10M3 8h10",
  check: "M3 8.5l3.2 3L13 4.5",
  download: "M8 2.5v7.5M5 7.5 8 10.5l3-3M3 13.5h10",
  retry: "M13 8a5 5 0 1 1-1.6-3.7M13.5 2.5v3h-3",
  stop: "M4.5 4.5h7v7h-7z",
  left: "M10 3.5 5.5 8l4.5 4.5",
  right: "M6 3.5 10.5 8 6 12.5",
  sun: "M8 5.5a2.5 2.5 0 1 0 .01 0M8 1.5v1.2M8 13.3v1.2M1.5 8h1.2M13.3 8h1.2M3.4 3.4l.9.9M11.7 11.7l.9.9M3.4 12.6l.9-.9M11.7 4.3l.9-.9",
  moon: "M13 9.5A5.5 5.5 0 1 1 6.5 3a4.4 4.4 0 0 0 6.5 6.5z",
  user: "M8 2.8a2.6 2.6 0 1 0 .01 0M3 13.5c.4-2.8 2.3-4.2 5-4.2s4.6 1.4 5 4.2",
  trash: "M3 4.5h10M6.5 4.5V3h3v1.5M4.5 4.5l.6 8.5h5.8l.6-8.5",
  jvm: "M3.5 6h7v4a2.5 2.5 0 0 1-2.5 2.5H6A2.5 2.5 0 0 1 3.5 10zM10.5 7h1a1.5 1.5 0 0 1 0 3h-1M5.5 3.8V3M8.5 3.8V3",
  node: "M2.5 3h11v4h-11zM2.5 9h11v4h-11zM5 5h.01M5 11h.01",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name, size = 16 }: { name: IconName; size?: number }) {
  return (
    <svg
      width={size}
      height={size}
      viewBox="0 0 16 16"
      fill="none"
      stroke="currentColor"
      strokeWidth="1.4"
      strokeLinecap="round"
      strokeLinejoin="round"
      aria-hidden="true"
    >
      <path d={PATHS[name]} />
    </svg>
  );
}

export function Brand() {
  return (
    <span className="brand">
      <svg width="20" height="20" viewBox="0 0 32 32" fill="currentColor" aria-hidden="true">
        <path d="M4 27V18h6v9zm9 0V11h6v16zm9 0V4h6v23z" />
      </svg>
      rscaler
    </span>
  );
}
