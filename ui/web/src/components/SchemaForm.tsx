import {
  ActionIcon,
  Autocomplete,
  Button,
  NumberInput,
  PasswordInput,
  Select,
  Switch,
  TagsInput,
  Textarea,
  TextInput,
} from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import type { Kind } from "../api/kinds";
import { objects } from "../api/queries";
import { usePrefs } from "../app/prefs";
import { type Path, toPointer, valueAt, withValue } from "../lib/pointer";
import { blank, type Field, isOffered, refersTo, title } from "../lib/schema";
import { inputMoment, inputText } from "../lib/time";
import { Icon } from "./Icon";

export interface FormState {
  value: Record<string, unknown>;
  onChange: (value: Record<string, unknown>) => void;
  /** What the API finds wrong, by JSON pointer. */
  errors: Map<string, string>;
  /** Fields that cannot be changed here. */
  fixed?: ReadonlySet<string>;
}

interface Part {
  field: Field;
  path: Path;
  state: FormState;
  label?: string;
}

/** Names that there are, of the kind that a field refers to. */
function useNames(kind: string | null): string[] {
  const query = useQuery({ ...objects((kind ?? "cluster") as Kind), enabled: kind !== null });
  return kind === null ? [] : (query.data ?? []).map((one) => one.name);
}

function useField({ field, path, state, label }: Part) {
  const value = valueAt(state.value, path);
  const set = (next: unknown) => state.onChange(withValue(state.value, path, next) as Record<string, unknown>);
  const error = state.errors.get(toPointer(path));
  const common = {
    label: label ?? title(field.name),
    description: field.description.replaceAll("`", "") || undefined,
    error,
    required: field.required,
    "data-pointer": toPointer(path),
    withAsterisk: field.required,
    placeholder: field.default !== undefined ? String(field.default) : field.example,
  };
  return { value, set, error, common };
}

const MONO = { input: { fontFamily: "var(--mono)", fontSize: "12.5px" } };

function Words(part: Part) {
  const { field, state } = part;
  const { value, set, common } = useField(part);
  const names = useNames(refersTo(field.name));
  const { zone } = usePrefs();
  const text = value === undefined || value === null ? "" : String(value);
  const change = (next: string) => set(next === "" ? undefined : next);
  const disabled = state.fixed?.has(field.name) ?? false;
  if (field.type !== "text") {
    return null;
  }
  if (field.format === "date-time") {
    return (
      <TextInput
        {...common}
        label={`${common.label} (${zone})`}
        type="datetime-local"
        step={1}
        value={text ? inputText(Date.parse(text), zone) : ""}
        onChange={(event) => {
          const at = inputMoment(event.currentTarget.value, zone);
          set(at === null ? undefined : new Date(at).toISOString());
        }}
      />
    );
  }
  if (field.writeOnly && !field.multiline) {
    return (
      <PasswordInput
        {...common}
        autoComplete="new-password"
        value={text}
        onChange={(event) => change(event.currentTarget.value)}
      />
    );
  }
  if (names.length > 0) {
    return <Autocomplete {...common} data={names} value={text} onChange={change} disabled={disabled} />;
  }
  if (field.multiline) {
    return (
      <Textarea
        {...common}
        autosize
        minRows={field.name === "description" || field.name === "reason" ? 1 : 4}
        maxRows={22}
        styles={field.name === "description" || field.name === "reason" ? {} : MONO}
        value={text}
        onChange={(event) => change(event.currentTarget.value)}
      />
    );
  }
  return (
    <TextInput {...common} value={text} disabled={disabled} onChange={(event) => change(event.currentTarget.value)} />
  );
}

function Texts(part: Part) {
  const { value, set, common } = useField(part);
  const names = useNames(refersTo(part.field.name));
  return (
    <TagsInput
      {...common}
      data={part.field.name === "clusters" ? ["*", ...names] : names}
      value={Array.isArray(value) ? value.map(String) : []}
      placeholder="Enter adds one"
      onChange={(next) => set(next.length === 0 && part.field.optional ? undefined : next)}
      clearable
    />
  );
}

function Variants(part: Part) {
  const { field, path, state } = part;
  const { value, set, common, error } = useField(part);
  if (field.type !== "variants") {
    return null;
  }
  const shape = value !== null && typeof value === "object" ? Object.keys(value)[0] : undefined;
  const chosen =
    (shape && `of:${shape}`) ?? (typeof value === "string" ? (field.words.includes(value) ? value : "text") : "");
  const options = [
    ...(field.optional
      ? [{ value: "", label: field.default !== undefined ? `as usual (${field.default})` : "none" }]
      : []),
    ...(field.free ? [{ value: "text", label: "here" }] : []),
    ...field.words.map((word) => ({ value: word, label: word })),
    ...field.shapes.map((one) => ({
      value: `of:${one.name}`,
      label: field.free ? `of a ${one.name}` : `${one.name.replaceAll("_", " ")}…`,
    })),
  ];
  const inner = field.shapes.find((one) => one.name === shape);
  const choose = (next: string | null) => {
    if (next === "" || next === null) {
      set(undefined);
    } else if (next === "text") {
      set("");
    } else if (field.words.includes(next)) {
      set(next);
    } else {
      set({ [next.slice(3)]: "" });
    }
  };
  return (
    <div className="stack" style={{ gap: 6 }}>
      <Select
        {...common}
        error={chosen === "text" || inner ? undefined : error}
        data={options}
        value={chosen === "" && !field.optional ? null : chosen}
        onChange={choose}
      />
      {chosen === "text" && (
        <Textarea
          aria-label={common.label}
          error={error}
          autosize
          minRows={field.name === "script" ? 5 : 1}
          maxRows={24}
          styles={MONO}
          value={typeof value === "string" ? value : ""}
          onChange={(event) => set(event.currentTarget.value)}
        />
      )}
      {inner && <FieldInput field={inner} path={[...path, inner.name]} state={state} />}
    </div>
  );
}

function List(part: Part) {
  const { field, path, state } = part;
  const { value, set, error } = useField(part);
  if (field.type !== "list") {
    return null;
  }
  const items = Array.isArray(value) ? value : [];
  const item = field.item;
  return (
    <fieldset className="field-group" data-pointer={toPointer(path)}>
      <legend>{title(field.name)}</legend>
      {field.description && <p className="hint">{field.description.replaceAll("`", "")}</p>}
      {items.map((_, index) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: they have no other name
        <div key={index} className="row" style={{ alignItems: "flex-start", flexWrap: "nowrap" }}>
          <div className="two" style={{ flex: 1 }}>
            {item.type === "object" ? (
              item.fields.map((one) => (
                <FieldInput key={one.name} field={one} path={[...path, index, one.name]} state={state} />
              ))
            ) : (
              <FieldInput field={item} path={[...path, index]} state={state} label={`${index + 1}.`} />
            )}
          </div>
          <ActionIcon
            aria-label={`Remove ${title(field.name)} ${index + 1}`}
            onClick={() =>
              set(items.length === 1 && field.optional ? undefined : items.filter((_one, at) => at !== index))
            }
          >
            <Icon name="trash" size={14} />
          </ActionIcon>
        </div>
      ))}
      {error && <p style={{ color: "var(--firing)" }}>{error}</p>}
      <div>
        <Button
          size="compact-xs"
          leftSection={<Icon name="plus" size={12} />}
          onClick={() =>
            set([...items, item.type === "object" ? blank(item.fields) : item.type === "choice" ? item.options[0] : ""])
          }
        >
          Add
        </Button>
      </div>
    </fieldset>
  );
}

function Pairs(part: Part) {
  const { field, path, state } = part;
  const { value, set, error } = useField(part);
  const [key, setKey] = useState("");
  if (field.type !== "map") {
    return null;
  }
  const pairs = value !== null && typeof value === "object" ? Object.keys(value) : [];
  const add = () => {
    if (key.trim()) {
      set({ ...(value as object), [key.trim()]: "" });
      setKey("");
    }
  };
  return (
    <fieldset className="field-group" data-pointer={toPointer(path)}>
      <legend>{title(field.name)}</legend>
      {pairs.map((name) => (
        <div key={name} className="row" style={{ alignItems: "flex-end", flexWrap: "nowrap" }}>
          <div style={{ flex: 1 }}>
            <FieldInput
              field={{ ...field.item, description: "", required: false }}
              path={[...path, name]}
              state={state}
              label={name}
            />
          </div>
          <ActionIcon
            aria-label={`Remove ${name}`}
            onClick={() => {
              const { [name]: _gone, ...rest } = value as Record<string, unknown>;
              set(Object.keys(rest).length === 0 ? undefined : rest);
            }}
          >
            <Icon name="trash" size={14} />
          </ActionIcon>
        </div>
      ))}
      {error && <p style={{ color: "var(--firing)" }}>{error}</p>}
      <div className="row nowrap">
        <TextInput
          size="xs"
          placeholder="key"
          aria-label={`New key of ${field.name}`}
          value={key}
          onChange={(event) => setKey(event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key === "Enter") {
              event.preventDefault();
              add();
            }
          }}
        />
        <Button size="xs" onClick={add} disabled={!key.trim()}>
          Add
        </Button>
      </div>
    </fieldset>
  );
}

export function FieldInput(part: Part) {
  const { field, path, state } = part;
  const { value, set, common } = useField(part);
  switch (field.type) {
    case "text":
      return <Words {...part} />;
    case "texts":
      return <Texts {...part} />;
    case "variants":
      return <Variants {...part} />;
    case "list":
      return <List {...part} />;
    case "map":
      return <Pairs {...part} />;
    case "flag":
      return (
        <Switch
          label={common.label}
          description={common.description}
          error={common.error}
          checked={value === undefined ? field.default === true : Boolean(value)}
          onChange={(event) => set(event.currentTarget.checked)}
        />
      );
    case "number":
      return (
        <NumberInput
          {...common}
          {...(field.min === undefined ? {} : { min: field.min })}
          {...(field.max === undefined ? {} : { max: field.max })}
          allowDecimal={!field.integer}
          value={typeof value === "number" ? value : ""}
          onChange={(next) => set(next === "" ? undefined : Number(next))}
        />
      );
    case "choice":
      return (
        <Select
          {...common}
          clearable={field.optional}
          data={field.options}
          value={typeof value === "string" ? value : null}
          onChange={(next) => set(next ?? undefined)}
        />
      );
    case "object":
      return (
        <fieldset className="field-group">
          <legend>{common.label}</legend>
          {common.description && <p className="hint">{common.description}</p>}
          <div className="two">
            {field.fields.map((one) => (
              <FieldInput key={one.name} field={one} path={[...path, one.name]} state={state} />
            ))}
          </div>
        </fieldset>
      );
    default:
      return null;
  }
}

const SHORT = new Set(["choice", "number", "flag", "texts"]);

function isShort(field: Field): boolean {
  return SHORT.has(field.type) || (field.type === "text" && !field.multiline);
}

/** A form for an object of any kind, as the API describes it. Short fields stand side by side. */
export function SchemaForm({ fields, state }: { fields: Field[]; state: FormState }) {
  const groups: Field[][] = [];
  for (const field of fields.filter((one) => !state.fixed?.has(one.name) && isOffered(one, state.value))) {
    const last = groups.at(-1);
    if (last?.[0] && isShort(last[0]) && isShort(field)) {
      last.push(field);
    } else {
      groups.push([field]);
    }
  }
  return groups.map((group) => (
    <div key={group[0]?.name} className="two">
      {group.map((field) => (
        <FieldInput key={field.name} field={field} path={[field.name]} state={state} />
      ))}
    </div>
  ));
}
