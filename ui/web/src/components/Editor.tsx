import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import { yaml } from "@codemirror/lang-yaml";
import { HighlightStyle, StreamLanguage, syntaxHighlighting } from "@codemirror/language";
import { python } from "@codemirror/legacy-modes/mode/python";
import { shell } from "@codemirror/legacy-modes/mode/shell";
import { highlightSelectionMatches, search, searchKeymap } from "@codemirror/search";
import { Compartment, EditorState, type Extension, StateEffect, StateField } from "@codemirror/state";
import { Decoration, type DecorationSet, EditorView, keymap, lineNumbers, WidgetType } from "@codemirror/view";
import { tags } from "@lezer/highlight";
import { useEffect, useRef } from "react";

/** Where in the text something is wrong. */
export interface Mistake {
  at: number;
  text: string;
}

const look = HighlightStyle.define([
  { tag: [tags.propertyName, tags.definition(tags.propertyName), tags.variableName], color: "var(--accent)" },
  { tag: [tags.string, tags.special(tags.string)], color: "var(--ok)" },
  { tag: [tags.number, tags.bool, tags.null, tags.atom], color: "var(--pending)" },
  { tag: [tags.comment, tags.meta], color: "var(--quiet)", fontStyle: "italic" },
  { tag: [tags.keyword, tags.operator], color: "var(--recovering)" },
]);

const theme = EditorView.theme({
  "&": { color: "var(--text)" },
  "&.cm-focused": { outline: "none" },
  ".cm-cursor": { borderLeftColor: "var(--text)" },
  ".cm-selectionBackground, &.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground": {
    background: "var(--accent-soft) !important",
  },
  ".cm-mistake": { color: "var(--firing)", padding: "2px 0 4px 2px", fontFamily: "var(--sans)" },
  ".cm-panels": { background: "var(--sunken)", color: "var(--text)" },
});

class Note extends WidgetType {
  constructor(readonly text: string) {
    super();
  }
  override eq(other: Note): boolean {
    return other.text === this.text;
  }
  toDOM(): HTMLElement {
    const place = document.createElement("div");
    place.className = "cm-mistake";
    place.textContent = `↑ ${this.text}`;
    return place;
  }
}

const setMistakes = StateEffect.define<Mistake[]>();

const mistakeField = StateField.define<DecorationSet>({
  create: () => Decoration.none,
  update(shown, transaction) {
    let next = shown.map(transaction.changes);
    for (const effect of transaction.effects) {
      if (effect.is(setMistakes)) {
        const notes = effect.value.map((one) => {
          const line = transaction.state.doc.lineAt(Math.min(one.at, transaction.state.doc.length));
          return Decoration.widget({ widget: new Note(one.text), block: true, side: 1 }).range(line.to);
        });
        next = Decoration.set(notes, true);
      }
    }
    return next;
  },
  provide: (field) => EditorView.decorations.from(field),
});

function language(name: string): Extension {
  if (/\.(ya?ml)$/.test(name)) {
    return yaml();
  }
  if (/\.py$/.test(name)) {
    return StreamLanguage.define(python);
  }
  return /\.(sh|bash)$/.test(name) || !name.includes(".") ? StreamLanguage.define(shell) : [];
}

/** A text editor. `name` says what the text is, by its ending. */
export default function Editor({
  name,
  value,
  onChange,
  mistakes = [],
  readOnly = false,
  label,
}: {
  name: string;
  value: string;
  onChange: (value: string) => void;
  mistakes?: Mistake[];
  readOnly?: boolean;
  label: string;
}) {
  const place = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView | null>(null);
  const tell = useRef(onChange);
  tell.current = onChange;
  const locked = useRef(new Compartment());
  // biome-ignore lint/correctness/useExhaustiveDependencies: the text is the editor's own from here on
  useEffect(() => {
    if (!place.current) {
      return;
    }
    const made = new EditorView({
      parent: place.current,
      state: EditorState.create({
        doc: value,
        extensions: [
          lineNumbers(),
          history(),
          search({ top: true }),
          highlightSelectionMatches(),
          keymap.of([...defaultKeymap, ...historyKeymap, ...searchKeymap, indentWithTab]),
          language(name),
          syntaxHighlighting(look),
          theme,
          mistakeField,
          EditorView.lineWrapping,
          EditorView.contentAttributes.of({ "aria-label": label }),
          locked.current.of(EditorState.readOnly.of(readOnly)),
          EditorView.updateListener.of((update) => {
            if (update.docChanged) {
              tell.current(update.state.doc.toString());
            }
          }),
        ],
      }),
    });
    view.current = made;
    return () => made.destroy();
  }, [name, readOnly]);
  useEffect(() => {
    const now = view.current;
    if (now && now.state.doc.toString() !== value) {
      now.dispatch({ changes: { from: 0, to: now.state.doc.length, insert: value } });
    }
  }, [value]);
  useEffect(() => {
    view.current?.dispatch({ effects: setMistakes.of(mistakes) });
  }, [mistakes]);
  return <div className="editor" ref={place} />;
}
