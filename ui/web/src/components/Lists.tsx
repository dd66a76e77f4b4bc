import type { ReactNode } from "react";

export interface Column<T> {
  title: string;
  cell: (item: T) => ReactNode;
  /** Numbers stand at the right. */
  number?: boolean;
  tight?: boolean;
}

/** A table that becomes a list of cards where there is little room. */
export function Table<T>({
  items,
  columns,
  id,
  label,
}: {
  items: readonly T[];
  columns: Column<T>[];
  id: (item: T) => string | number;
  label: string;
}) {
  return (
    <div className="card scroll">
      <table className="t fold" aria-label={label}>
        <thead>
          <tr>
            {columns.map((column) => (
              <th key={column.title} className={column.number ? "n" : undefined} scope="col">
                {column.title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {items.map((item) => (
            <tr key={id(item)}>
              {columns.map((column, index) => (
                <td
                  key={column.title}
                  data-label={index === 0 ? undefined : column.title}
                  className={`${column.number ? "n" : ""}${column.tight ? " tight" : ""}`}
                >
                  <div className="cell">{column.cell(item)}</div>
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
