import { type Field, isOffered } from "../../lib/schema";
import { FieldInput } from "./FieldInput";
import type { FormState } from "./field";

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
