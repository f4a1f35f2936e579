// What is marked data-live is made again by the server, and put in place, whenever the service says that something has changed.
"use strict";
(() => {
  const regions = () => document.querySelectorAll("[data-live]");
  if (regions().length === 0) return;
  const least = 1000; // milliseconds between two looks
  const idle = 5000; // where no events come
  const sure = 15000; // where they do
  let asked = 0, timer = 0, due = 0, busy = false, events = null, lost = false;

  // later looks again after that many milliseconds, or sooner.
  function later(wait) {
    const at = Math.max(Date.now() + wait, asked + least);
    if (document.hidden || timer && due <= at) return;
    clearTimeout(timer);
    due = at;
    timer = setTimeout(look, at - Date.now());
  }

  async function look() {
    timer = 0;
    if (busy) return later(least);
    busy = true;
    asked = Date.now();
    try {
      const answer = await fetch(location.href, { cache: "no-store", headers: { Accept: "text/html" }, signal: AbortSignal.timeout(20000) });
      if (!answer.ok) throw new Error(String(answer.status));
      put(new DOMParser().parseFromString(await answer.text(), "text/html"));
      say("");
    } catch (e) {
      say("The service does not answer: this is how it stood then.");
    }
    busy = false;
    later(live() ? sure : idle);
  }

  const live = () => events !== null && events.readyState === EventSource.OPEN && !lost;

  function say(text) {
    const p = document.getElementById("lost");
    lost = text !== "";
    document.body.classList.toggle("stale", lost);
    if (p.textContent !== text) p.textContent = text;
  }

  // put replaces what has changed. What is open stays open, and who was somewhere stays there.
  function put(fresh) {
    for (const old of regions()) {
      const next = fresh.getElementById(old.id);
      if (next === null || next.innerHTML === old.dataset.was || selecting(old)) continue;
      const was = next.innerHTML;
      const at = old.contains(document.activeElement) ? document.activeElement : null;
      const scrolled = [...old.querySelectorAll(".scroll")].map((e) => e.scrollLeft);
      for (const open of old.querySelectorAll("details[open][id]")) {
        const d = next.querySelector("#" + CSS.escape(open.id));
        if (d) d.open = true;
      }
      old.replaceChildren(...document.importNode(next, true).childNodes);
      old.className = next.className;
      old.dataset.was = was;
      old.querySelectorAll(".scroll").forEach((e, i) => { e.scrollLeft = scrolled[i] || 0; });
      if (at) focus(old, at);
    }
    const as = fresh.getElementById("asof");
    if (as) document.getElementById("asof").replaceChildren(...document.importNode(as, true).childNodes);
  }

  // focus goes to what has taken the place of an element.
  function focus(region, was) {
    let now = was.id ? document.getElementById(was.id) : null;
    if (!now && was.tagName === "SUMMARY" && was.parentElement.id) now = region.querySelector("#" + CSS.escape(was.parentElement.id) + " > summary");
    if (!now && was.getAttribute("aria-label")) now = region.querySelector('[aria-label="' + CSS.escape(was.getAttribute("aria-label")) + '"][tabindex]');
    if (!now) { // it is gone: a button of what was done
      now = document.getElementById("main");
    }
    now.focus({ preventScroll: true });
  }

  function selecting(region) {
    const s = getSelection();
    return s !== null && !s.isCollapsed && region.contains(s.anchorNode);
  }

  function listen() {
    events = new EventSource("/api/v1/events");
    for (const kind of ["job", "work", "job-removed", "work-removed"]) events.addEventListener(kind, () => later(0));
    events.onopen = () => later(0);
    events.onerror = () => later(idle);
  }

  for (const r of regions()) r.dataset.was = r.innerHTML;
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { clearTimeout(timer); timer = 0; } else later(0);
  });
  listen();
  later(idle);
})();
