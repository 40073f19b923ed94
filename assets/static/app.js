// Keeps pages up to date. Every page works without it: the server draws everything, this only fetches it again.
"use strict";
(() => {
  const one = (what, where = document) => where.querySelector(what);
  const all = (what, where = document) => Array.from(where.querySelectorAll(what));
  const PAUSE = 2000; // Milliseconds between two fetches of one tab.
  const POLL = 15000; // Heartbeats cause no events, so pages are also fetched at this interval.
  const base = new URL("..", document.currentScript.src); // The server may be below a path.
  const skew = Date.parse(document.body.dataset.now) - Date.now();

  // Updates relative times.
  const span = (s) => s < 60 ? s + " s" : s < 3600 ? Math.floor(s / 60) + " min" : s < 86400 ? Math.floor(s / 3600) + " h" : Math.floor(s / 86400) + " d";
  const tick = () => all("time.r").forEach((time) => {
    const s = Math.round((Date.now() + skew - Date.parse(time.dateTime)) / 1000);
    const text = Math.abs(s) < 2 ? "just now" : s < 0 ? "in " + span(-s) : span(s) + " ago";
    if (time.textContent !== text) time.textContent = text;
  });
  setInterval(tick, 5000);

  // Copy buttons, where the browser allows copying.
  const copyButtons = () => navigator.clipboard && all("[data-copy]").forEach((button) => { button.hidden = false; });
  copyButtons();
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    button.textContent = "Copied";
  });

  const fetched = async (url) => {
    const answer = await fetch(url, { headers: { Accept: "text/html" } });
    if (answer.redirected && new URL(answer.url).pathname !== new URL(url, location).pathname) {
      location.reload(); // Signed out: the server redirects to the sign-in page, and back.
      return null;
    }
    return new DOMParser().parseFromString(await answer.text(), "text/html");
  };

  // Replaces live regions. A region with a focused input or open details is left alone.
  const busy = (region) => {
    const focus = document.activeElement;
    return (region.contains(focus) && /^(INPUT|TEXTAREA|SELECT)$/.test(focus.tagName)) || one("details[open]", region);
  };
  const swap = (fresh) => {
    document.title = fresh.title;
    all("[data-live]").forEach((old) => {
      const now = fresh.getElementById(old.id);
      if (!now || busy(old) || old.innerHTML === now.innerHTML) return;
      const focus = document.activeElement;
      const href = old.contains(focus) && focus.getAttribute("href");
      old.replaceWith(document.adoptNode(now));
      if (href) all("a", document.getElementById(old.id)).find((a) => a.getAttribute("href") === href)?.focus();
    });
    copyButtons();
    tick();
    connected(online);
  };

  // The timeline: new events go on top. While the user has scrolled down, they wait behind a button.
  const feed = one("[data-feed]");
  let waiting = [];
  const more = document.createElement("button");
  more.id = "new-events";
  const show = () => {
    const known = new Set(all(":scope > li", feed).map((item) => item.id));
    waiting.filter((item) => !known.has(item.id)).reverse().forEach((item) => {
      item.classList.add("fresh");
      feed.prepend(item);
    });
    waiting = [];
    more.remove();
    one("#no-events")?.remove();
    all(":scope > li", feed).slice(500).forEach((item) => item.remove());
    tick();
  };
  const grow = async () => {
    const known = new Set(all(":scope > li", feed).concat(waiting).map((item) => item.id));
    let url = feed.dataset.feed, fresh = [];
    for (let pages = 0; url && pages < 10; pages++) {
      const page = await fetched(url);
      if (!page) return;
      if (pages === 0) swap(page);
      const items = all("[data-feed] > li", page);
      const old = items.findIndex((item) => known.has(item.id));
      fresh = fresh.concat((old < 0 ? items : items.slice(0, old)).map((item) => document.adoptNode(item)));
      url = old < 0 && known.size ? one("a[rel=next]", page)?.href : null;
    }
    waiting = fresh.concat(waiting);
    if (!waiting.length) return;
    if (scrollY < 200) return show();
    more.textContent = waiting.length === 1 ? "1 new event" : waiting.length + " new events";
    if (!more.isConnected) feed.before(more);
  };
  more.addEventListener("click", () => { scrollTo(0, 0); show(); });
  addEventListener("scroll", () => { if (waiting.length && scrollY < 50) show(); }, { passive: true });

  // One fetch at a time, at least PAUSE apart.
  let timer = null, running = false, leaving = false, last = 0;
  const refresh = async () => {
    timer = null;
    if (leaving) return;
    if (running) return soon();
    running = true;
    last = Date.now();
    try {
      if (feed) {
        await grow();
      } else {
        const page = await fetched(document.body.dataset.watch || one("[data-watch]")?.dataset.watch || location.href);
        if (page) swap(page);
      }
    } catch {
      connected(false); // The server is unreachable; the stream reconnects when it is back.
    }
    running = false;
  };
  const soon = () => { timer ??= setTimeout(refresh, Math.max(150, last + PAUSE - Date.now())); };

  // The stream only signals a change; the page shows what it was. Only the visible tab holds a connection.
  let source = null, online = false;
  const connected = (is) => {
    online = is;
    const sign = one("#stream");
    if (!sign) return;
    sign.hidden = false;
    sign.textContent = is ? "· live" : "· reconnecting";
  };
  const listen = () => {
    if (source || document.hidden || !one("body > nav")) return; // Not signed in.
    source = new EventSource(new URL("events/stream", base));
    source.addEventListener("event", soon);
    source.onopen = () => { connected(true); soon(); };
    source.onerror = () => {
      connected(false);
      if (source.readyState !== EventSource.CLOSED) return;
      source = null;
      setTimeout(listen, 5000);
      soon();
    };
  };
  const rest = () => { source?.close(); source = null; };
  document.addEventListener("visibilitychange", () => document.hidden ? rest() : listen());
  // A page whose form is being submitted may be gone before the answer arrives.
  addEventListener("submit", () => { leaving = true; });
  addEventListener("pagehide", rest);
  addEventListener("pageshow", () => { leaving = false; listen(); });
  if (one("body > nav")) {
    listen();
    setInterval(() => { if (!document.hidden) soon(); }, POLL);
  }
})();
