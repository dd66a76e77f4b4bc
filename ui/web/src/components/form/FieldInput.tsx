import { ActionIcon, Button, NumberInput, Select, Switch, Textarea, TextInput } from "@mantine/core";
import { useState } from "react";
import { toPointer } from "../../lib/pointer";
import { blank, title } from "../../lib/schema";
import { Icon } from "../Icon";
import { Words } from "../parts";
import { MONO, type Part, useField } from "./field";
import { Text, Texts } from "./TextInputs";

/** The input of one field, with the inputs of what is in it. */
export function FieldInput(part: Part) {
  const { field, path, state } = part;
  const { value, set, common } = useField(part);
  switch (field.type) {
    case "text":
      return <Text {...part} />;
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

function Variants(part: Part) {
  const { field, path, state } = part;
  const { value, set, common } = useField(part);
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
    <div className="stack">
      <Select
        {...common}
        error={chosen === "text" || inner ? undefined : common.error}
        data={options}
        value={chosen === "" && !field.optional ? null : chosen}
        onChange={choose}
      />
      {chosen === "text" && (
        <Textarea
          aria-label={common.label}
          error={common.error}
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
  const { value, set, common } = useField(part);
  if (field.type !== "list") {
    return null;
  }
  const items = Array.isArray(value) ? value : [];
  const item = field.item;
  return (
    <fieldset className="field-group" data-pointer={toPointer(path)}>
      <legend>{title(field.name)}</legend>
      {field.description && (
        <p className="hint">
          <Words text={field.description} />
        </p>
      )}
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
      {common.error && <p style={{ color: "var(--firing)" }}>{common.error}</p>}
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
  const { value, set, common } = useField(part);
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
      {common.error && <p style={{ color: "var(--firing)" }}>{common.error}</p>}
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
