// Follows the run: each event is the whole state.
"use strict";

const byId = (id) => document.getElementById(id);

function show(state) {
	byId("line").textContent = state.line;
	byId("facts").replaceChildren(...state.facts.map(({ name, value }) => {
		const box = document.createElement("div");
		for (const [tag, text] of [["dt", name], ["dd", value]]) {
			box.appendChild(document.createElement(tag)).textContent = text;
		}
		return box;
	}));
	const figures = byId("figures");
	for (const { name, title, src } of state.figures) {
		const old = byId(name);
		if (old && old.getAttribute("src") === src) continue;
		const img = new Image();
		img.id = name;
		img.alt = "Plot: " + title;
		// The old picture stays until the new one is there.
		img.onload = () => (byId(name) ? byId(name).replaceWith(img) : figures.append(img));
		img.src = src;
	}
}

const source = new EventSource("events");
source.addEventListener("record", (e) => {
	byId("status").textContent = "";
	show(JSON.parse(e.data));
});
source.addEventListener("end", (e) => {
	source.close();
	show(JSON.parse(e.data));
	byId("status").textContent = "The run has ended.";
});
source.onerror = () => {
	byId("status").textContent = "Connection lost; trying again.";
};
