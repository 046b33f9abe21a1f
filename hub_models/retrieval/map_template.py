"""The page around the map: what ``{{name}}`` stands for is put in by `hub_models.retrieval.map_page`."""

from __future__ import annotations

PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Uncertainty-aware map</title>
<style>
  body { margin: 0; height: 100vh; display: flex; flex-direction: column; color: #222; }
  body { font: 16px/1.4 system-ui, sans-serif; }
  header { padding: 12px 20px 4px; }
  h1 { margin: 0; font-size: 20px; }
  header p { margin: 2px 0 0; color: #555; }
  main { flex: 1; min-height: 0; display: flex; flex-direction: row-reverse; }
  #plot { flex: 1; min-width: 0; }
  #plot > div { height: 100%; }
  aside { width: 220px; padding: 12px 20px; border-left: 1px solid #ddd; overflow-wrap: anywhere; }
  aside img { display: block; max-width: 160px; margin: 10px 0; border-radius: 4px; }
  aside dt { color: #555; font-size: 14px; }
  aside dd { margin: 0 0 8px; }
</style>
</head>
<body>
<header>
  <h1>Uncertainty-aware map of {{note}}</h1>
  <p>Near means similar. Large and opaque: the model is certain; small and faint: it is not.</p>
</header>
<main>
  <aside id="details" aria-live="polite">
    Hover over an image to see it here. Click to keep it, double-click to let go.
  </aside>
  <div id="plot">{{figure}}</div>
</main>
<script type="application/json" id="images">{{details}}</script>
<script>
  const images = JSON.parse(document.getElementById("images").textContent);
  const panel = document.getElementById("details");
  const plot = document.getElementById("map");
  const percent = share => `${Math.round(100 * share)} %`;
  let kept = false;

  function show(image) {
    const list = document.createElement("dl");
    const add = (term, text) => {
      for (const [tag, content] of [["dt", term], ["dd", text]]) {
        list.append(Object.assign(document.createElement(tag), { textContent: content }));
      }
    };
    add("image", image.name);
    if (image.class !== null) add("class", image.class);
    if (image.percentile !== null) add("percentile in the model's reference", percent(image.percentile));
    add("more uncertain than, on this map", percent(image.rank));
    panel.replaceChildren(list);
    if (image.thumbnail) {
      panel.prepend(Object.assign(new Image(), { src: image.thumbnail, alt: image.name }));
    } else {
      panel.prepend("This page holds no thumbnail of it.");
    }
  }

  plot.on("plotly_hover", event => { if (!kept) show(images[event.points[0].customdata]); });
  plot.on("plotly_click", event => { kept = true; show(images[event.points[0].customdata]); });
  plot.on("plotly_doubleclick", () => { kept = false; });
</script>
</body>
</html>
"""
