import { type Path, toPointer, valueAt, withValue } from "../../lib/pointer";
import { type Field, title } from "../../lib/schema";
import { Words } from "../parts";

export interface FormState {
  value: Record<string, unknown>;
  onChange: (value: Record<string, unknown>) => void;
  /** What the API finds wrong, by JSON pointer. */
  errors: Map<string, string>;
  /** Fields that cannot be changed here. */
  fixed?: ReadonlySet<string>;
}

/** A field of a form, and where its value is. */
export interface Part {
  field: Field;
  path: Path;
  state: FormState;
  label?: string;
}

/** The value of a field, how it is changed, and what an input of Mantine takes of it. */
export function useField({ field, path, state, label }: Part) {
  const value = valueAt(state.value, path);
  const set = (next: unknown) => state.onChange(withValue(state.value, path, next) as Record<string, unknown>);
  const error = state.errors.get(toPointer(path));
  const common = {
    label: label ?? title(field.name),
    description: field.description ? <Words text={field.description} /> : undefined,
    error: error && <Words text={error} />,
    required: field.required,
    "data-pointer": toPointer(path),
    withAsterisk: field.required,
    placeholder: field.default !== undefined ? String(field.default) : field.example,
  };
  return { value, set, common };
}

/** Inputs of what machines read. */
export const MONO = { input: { fontFamily: "var(--mono)", fontSize: "12.5px" } };
