// Shows one instant of the contact sheet at a time. Without it the page shows the first one.
"use strict";
const scrub = document.querySelector(".scrub");
if (scrub) {
  const slider = scrub.querySelector("input");
  const label = scrub.querySelector("output");
  const instants = document.querySelectorAll(".instant");
  const show = () => {
    instants.forEach((instant, index) => { instant.hidden = index !== Number(slider.value); });
    label.textContent = instants[Number(slider.value)].dataset.label;
  };
  slider.addEventListener("input", show);
  slider.value = "0";
  scrub.hidden = false;
  show();
}
