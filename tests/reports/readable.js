// What a person would stumble over on this page, as sentences; the body of a function.
const found = new Set(), phone = innerWidth < 600;
const words = (node) => JSON.stringify(node.textContent.trim().slice(0, 40));
const rgba = (text) => {
  const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number);
  return [r, g, b, a];
};
const over = (front, back) => front.slice(0, 3).map((c, k) => c * front[3] + back[k] * (1 - front[3]));
const light = (colour) => {
  const [r, g, b] = colour.map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
// The colours of a text and of what it stands on, with every opacity between it and the page.
function colours(element) {
  const chain = [];
  for (let node = element; node; node = node.parentElement) chain.unshift(getComputedStyle(node));
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  let back = dark && chain[0].colorScheme.includes("dark") ? [18, 18, 18] : [255, 255, 255];
  let solid = 1, beneath = back;
  for (const style of chain) {
    if (Number(style.opacity) < 1) { beneath = back; solid *= Number(style.opacity); }
    back = over(rgba(style.backgroundColor), back);
  }
  const own = chain.at(-1), svg = element instanceof SVGElement;
  const ink = over(rgba(svg ? own.fill : own.color), back);
  const through = (colour) => over([...colour, solid], beneath);
  return [through(ink), through(back)];
}
const scroller = (element) => {
  for (let node = element.parentElement; node && node !== document.body; node = node.parentElement)
    if (/auto|scroll/.test(getComputedStyle(node).overflowX)) return node;
  return null;
};

if (document.documentElement.scrollWidth > innerWidth || document.body.scrollWidth > innerWidth)
  found.add(`the page is ${Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)} px wide`);
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let node = walker.nextNode(); node; node = walker.nextNode()) {
  const element = node.parentElement;
  if (!node.textContent.trim() || element.closest("script, style, noscript, title")) continue;
  if (!element.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
  const range = document.createRange();
  range.selectNodeContents(node);
  const boxes = [...range.getClientRects()].filter((box) => box.width && box.height);
  if (!boxes.length) continue;
  const style = getComputedStyle(element), matrix = element.getScreenCTM?.();
  const size = parseFloat(style.fontSize) * (matrix ? Math.hypot(matrix.a, matrix.b) : 1);
  if (size < 10.99) found.add(`${words(node)} has letters of ${size.toFixed(1)} px`);
  const [ink, back] = colours(element), [a, b] = [light(ink), light(back)];
  const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
  if (contrast < (large ? 3 : 4.5)) found.add(`${words(node)} has a contrast of ${contrast.toFixed(2)}`);
  if (style.textOverflow === "ellipsis" && element.closest("[title]")) continue;  // cut with dots
  const inside = scroller(element);
  for (const box of boxes) {
    if (!inside && (box.left < -1 || box.right + scrollX > innerWidth + 1)) found.add(`${words(node)} leaves the page`);
    for (let parent = element; parent !== document.body && !matrix; parent = parent.parentElement) {
      if (getComputedStyle(parent).overflowX === "visible" || parent === inside) continue;
      const room = parent.getBoundingClientRect();
      if (box.left < room.left - 1 || box.right > room.right + 1) found.add(`${words(node)} is cut off`);
    }
  }
}
for (const part of document.querySelectorAll("body *")) {  // what lies over others, over its words
  if (getComputedStyle(part).position !== "absolute" || !part.textContent.trim()) continue;
  part.scrollIntoView({ block: "center" });
  const { left, top, width, height } = part.getBoundingClientRect();
  const seen = document.elementFromPoint(left + Math.min(12, width / 2), top + height / 2);
  if (seen && !part.contains(seen)) found.add(`${words(part)} lies below ${words(seen)}`);
}
for (const box of document.querySelectorAll("body *")) {
  if (!/auto|scroll/.test(getComputedStyle(box).overflowX) || box.scrollWidth <= box.clientWidth) continue;
  const what = box.tagName.toLowerCase() + "." + box.className;
  if (!phone) found.add(`${what} scrolls sideways, ${box.scrollWidth} in ${box.clientWidth} px`);
  if (box.tabIndex < 0) found.add(`${what} scrolls, but not by the keyboard`);
}
for (const picture of document.querySelectorAll("img")) {
  if (!picture.checkVisibility()) continue;
  const { naturalWidth: width, naturalHeight: height, clientWidth, clientHeight } = picture;
  const fit = getComputedStyle(picture).objectFit;
  const bent = Math.abs(clientWidth / clientHeight / (width / height) - 1) > 0.03;
  if (bent && fit !== "contain") found.add(`a picture of ${width}x${height} is shown as ${clientWidth}x${clientHeight}, ${fit}`);
  if (!picture.hasAttribute("alt")) found.add("a picture has no words");
}
const numbers = document.body.innerText.match(/\d+(\.\d+)?\s?%/g) || [];
for (const text of numbers) if (!/^\d+(\.\d+)?[ \u00a0]%$/.test(text)) found.add(`${text} is written otherwise`);
return [...found];
