/** The bar on top of a page: its sections, the keys, the theme. */
import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { theme } from "./choices";
import { Choice } from "./parts";

/** The id of a section, its title, and a number to be pointed out; 0 for none. */
export type SectionEntry = readonly [id: string, title: string, count?: number];

const THEMES = [
  ["auto", "Auto"],
  ["light", "Light"],
  ["dark", "Dark"],
] as const;

export function Bar({ sections, children }: { sections: readonly SectionEntry[]; children?: ComponentChildren }) {
  const current = useCurrent(sections);
  const first = sections[0]![0];
  return (
    <div class="bar-top">
      <a class="skip" href={`#${first}`} onClick={jump(first)}>To the content</a>
      <span class="brand" aria-hidden="true"><i /><i /><i /><i /> tinyheap</span>
      <nav aria-label="Sections">
        {sections.map(([id, title, count]) => (
          <a key={id} href={`#${id}`} aria-current={current === id ? "location" : undefined} onClick={jump(id)}>
            {title}
            {!!count && <span class="count">{count}</span>}
          </a>
        ))}
      </nav>
      {children}
      <Choice label="Theme" value={theme} options={THEMES} />
    </div>
  );
}

/** Goes to a section and leaves the address alone, whose fragment holds what was chosen. */
function jump(id: string) {
  return (event: MouseEvent) => {
    event.preventDefault();
    const section = document.getElementById(id)!;
    section.scrollIntoView();
    section.tabIndex = -1;
    section.focus({ preventScroll: true });
  };
}

/** The section that is being read. */
function useCurrent(sections: readonly SectionEntry[]): string {
  const [current, setCurrent] = useState<string>("");
  useEffect(() => {
    const observer = new IntersectionObserver(
      (entries) => entries.forEach((entry) => entry.isIntersecting && setCurrent(entry.target.id)),
      { rootMargin: "-30% 0px -65% 0px" },
    );
    for (const [id] of sections) observer.observe(document.getElementById(id)!);
    return () => observer.disconnect();
  }, []);
  return current;
}
