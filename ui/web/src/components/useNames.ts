import { useQuery } from "@tanstack/react-query";
import type { Kind } from "../api/kinds";
import { objects } from "../api/queries";

/** The names of all objects of a kind; none of no kind. */
export function useNames(kind: Kind | null): string[] {
  const query = useQuery({ ...objects(kind ?? "cluster"), enabled: kind !== null });
  return kind === null ? [] : (query.data ?? []).map((one) => one.name);
}
