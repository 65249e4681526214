// Once, from noise to digits: x_t = a x_0 + b eps of the student's own digits and noise, while b falls from 1 to 0. It ends as
// soon as a reader moves anything, and never begins for one who wants less motion.
(async () => {
  const DURATION = 3000;
  /** @type {HTMLElement & { student?: { digits(): Promise<Float32Array[]>, noise(): Float32Array[], paint(x: Float32Array[]): void } }} */
  const root = document.querySelector(".first .course-student");
  const { digits, noise, paint } = root.student;
  let going = !matchMedia("(prefers-reduced-motion: reduce)").matches;
  for (const type of ["pointerdown", "keydown", "input"]) root.addEventListener(type, () => (going = false), { once: true });
  root.dataset.intro = going ? "noise" : "none";
  if (!going) return;
  /** @type {Float32Array[] | null} */
  let made = null;
  let begun = performance.now();
  function frame() {
    const angle = made ? (Math.min(1, (performance.now() - begun) / DURATION) * Math.PI) / 2 : 0; // noise until there are digits
    if (going) paint(noise().map((eps, k) => eps.map((v, i) => Math.cos(angle) * v + Math.sin(angle) * (made?.[k][i] ?? 0))));
    going &&= angle < Math.PI / 2 && root.isConnected;
    root.dataset.intro = going ? "noise" : "digits";
    if (going) requestAnimationFrame(frame);
  }
  frame();
  made = await digits();
  begun = performance.now();
})();
