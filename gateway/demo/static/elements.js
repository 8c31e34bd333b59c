/** Elements of the page. */

export const byId = (id) => document.getElementById(id);

/** Make an element: text is put in as text, whatever it says. */
export function element(name, className, ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

export function show(id, ...children) {
  byId(id).replaceChildren(...children);
}
