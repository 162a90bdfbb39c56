"use strict";

// The whole script of the console: a button that copies the text of another element.
document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-noa-copy]");
    if (!button) {
        return;
    }
    const source = document.getElementById(button.dataset.noaCopy);
    try {
        await navigator.clipboard.writeText(source.textContent);
        button.textContent = "Copied";
    } catch {
        // Browsers give the clipboard to secure pages only: select the text for the person instead.
        window.getSelection().selectAllChildren(source);
        button.textContent = "Selected: press Ctrl+C";
    }
});
