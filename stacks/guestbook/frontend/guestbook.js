const form = document.querySelector("form");

async function call(options) {
  const response = await fetch("/api/entries", options);
  const body = await response.json();
  if (!response.ok) throw new Error(body.error);
  return body;
}

// textContent, never innerHTML: an entry is untrusted text.
function item({ name, text, at }) {
  const li = document.createElement("li");
  const by = document.createElement("small");
  li.textContent = text;
  by.textContent = `${name}, ${new Date(at).toLocaleString()}`;
  li.append(by);
  return li;
}

async function show() {
  const { title, entries } = await call();
  document.title = document.querySelector("h1").textContent = title;
  document.querySelector("ol").replaceChildren(...entries.map(item));
}

const attempt = (action) =>
  action().then(() => "", (error) => error.message).then((text) => { form.querySelector("output").value = text; });

form.addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(async () => {
    await call({ method: "POST", body: JSON.stringify(Object.fromEntries(new FormData(form))) });
    form.text.value = "";
    await show();
  });
});

attempt(show);
