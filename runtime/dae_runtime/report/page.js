for (const slider of document.querySelectorAll(".compare input")) {
  const show = () => {
    slider.parentElement.style.setProperty("--x", slider.value + "%");
    slider.setAttribute("aria-valuetext", slider.value + " percent before, " + (100 - slider.value) + " percent after");
  };
  slider.addEventListener("input", show);
  show(); // a browser may remember where the slider stood
}
