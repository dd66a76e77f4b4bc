/** What the search box looks through. */
export interface Findable {
  to: string;
  text: string;
  what: string;
  more?: string | undefined;
}

/** How well a thing fits what was typed: the words in any order, best where the name begins with them. 0: not at all. */
export function score(thing: Findable, typed: string): number {
  const words = typed.toLowerCase().split(/\s+/).filter(Boolean);
  const name = thing.text.toLowerCase();
  const all = `${name} ${thing.what} ${thing.more ?? ""}`.toLowerCase();
  let sum = 1;
  for (const word of words) {
    if (name === word) {
      sum += 100;
    } else if (name.startsWith(word)) {
      sum += 50;
    } else if (name.includes(word)) {
      sum += 25;
    } else if (all.includes(word)) {
      sum += 5;
    } else {
      return 0;
    }
  }
  return sum - name.length / 1000;
}

export function find(things: readonly Findable[], typed: string, max = 30): Findable[] {
  return things
    .map((thing) => ({ thing, fits: score(thing, typed) }))
    .filter(({ fits }) => fits > 0)
    .sort((a, b) => b.fits - a.fits)
    .slice(0, max)
    .map(({ thing }) => thing);
}
