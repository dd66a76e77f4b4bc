import { Autocomplete, PasswordInput, TagsInput, Textarea, TextInput } from "@mantine/core";
import { usePrefs } from "../../app/prefs";
import { refersTo } from "../../lib/schema";
import { inputMoment, inputText } from "../../lib/time";
import { useNames } from "../useNames";
import { MONO, type Part, useField } from "./field";

/** One text: words, a moment, a password, the name of an object, or many lines. */
export function Text(part: Part) {
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

/** Several texts. */
export function Texts(part: Part) {
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
