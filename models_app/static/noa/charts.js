"use strict";

// Charts of figures over time: JSON of the server, drawn with the Chart.js that comes with unfold.
(() => {
    const CHARTS = {
        requests: {
            title: "Requests per second", type: "bar", unit: "/s",
            lines: [["Answered", "answered", "good"], ["Errors", "errors", "bad"]],
        },
        latency: {
            title: "Latency", type: "line", unit: "ms",
            lines: [["p50", "p50", "0"], ["p95", "p95", "1"], ["First token p95", "ttft_p95", "4"]],
        },
        ttft: { title: "First token", type: "line", unit: "ms", lines: [["p50", "ttft_p50", "0"], ["p95", "ttft_p95", "1"]] },
        speed: { title: "Speed of an answer", type: "line", unit: "tokens/s", lines: [["Tokens per second", "speed", "0"]] },
        tokens: { title: "Tokens written per second", type: "bar", unit: "/s", lines: [["Tokens", "tokens", "0"]] },
    };
    const REFRESH = 20_000;

    const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--noa-${name}`).trim();
    const rounded = (value) => value >= 100 ? Math.round(value).toLocaleString() : Number(value.toPrecision(3)).toLocaleString();
    const formatted = (value, unit) => unit === "ms" && value >= 1000 ? `${rounded(value / 1000)} s` : `${rounded(value)} ${unit}`;

    function moment(at, window) {
        const when = new Date(at);
        const clock = when.toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit", hour12: false });
        const day = when.toLocaleDateString(undefined, { day: "numeric", month: "short" });
        return { "1h": clock, "1d": clock, "7d": `${day}, ${clock}`, "30d": day }[window];
    }

    function options(chart) {
        const faint = colour("faint");
        const line = colour("quiet-back");
        return {
            animation: false, responsive: true, maintainAspectRatio: false, interaction: { mode: "index", intersect: false },
            plugins: {
                legend: { display: chart.lines.length > 1, align: "end", labels: { color: faint, boxWidth: 8, boxHeight: 8, usePointStyle: true } },
                tooltip: { callbacks: { label: (item) => `${item.dataset.label}: ${formatted(item.parsed.y, chart.unit)}` } },
            },
            scales: {
                x: { stacked: chart.type === "bar", grid: { display: false }, border: { color: line }, ticks: { color: faint, maxTicksLimit: 7, maxRotation: 0 } },
                y: { stacked: chart.type === "bar", beginAtZero: true, grid: { color: line }, border: { display: false }, ticks: { color: faint, maxTicksLimit: 5, callback: (value) => formatted(value, chart.unit) } },
            },
        };
    }

    const sets = (chart, points) => chart.lines.map(([label, field, tone]) => ({
        label, data: points.map((point) => point[field]),
        backgroundColor: colour(tone), borderColor: colour(tone), borderWidth: chart.type === "line" ? 2 : 0,
        pointRadius: points.filter((point) => point[field] !== null).length < 12 ? 2.5 : 0,
        spanGaps: true, tension: 0.25, maxBarThickness: 14,
    }));

    class Group {
        constructor(element) {
            this.element = element;
            this.grid = element.querySelector(".noa-chart-grid");
            this.window = element.querySelector("[aria-pressed=true]").dataset.window;
            this.drawn = [];
            this.places = element.dataset.noaCharts.split(" ").map((name) => this.place(CHARTS[name]));
            element.addEventListener("click", (event) => this.choose(event.target.closest("[data-window]")));
        }

        place(chart) {
            const figure = document.createElement("figure");
            figure.innerHTML = "<figcaption></figcaption><div class=\"noa-chart\"></div>";
            figure.firstChild.textContent = chart.title;
            this.grid.append(figure);
            return { chart, box: figure.lastChild };
        }

        choose(button) {
            if (button) {
                this.window = button.dataset.window;
                for (const choice of this.element.querySelectorAll("[data-window]")) {
                    choice.setAttribute("aria-pressed", String(choice === button));
                }
                void this.load();
            }
        }

        async load() {
            const query = new URLSearchParams({ window: this.window });
            if (this.element.dataset.model) {
                query.set("model", this.element.dataset.model);
            }
            try {
                const response = await fetch(`${this.element.dataset.url}?${query}`);
                if (response.ok) {
                    this.points = (await response.json()).points;
                    this.draw();
                }
            } catch {
                // The server is unreachable: live.js reports it, and the charts stay as they are.
            }
        }

        draw() {
            this.drawn.forEach((drawn) => drawn.destroy());
            this.drawn = this.places.flatMap(({ chart, box }) => this.drawOne(chart, box));
        }

        drawOne(chart, box) {
            const known = (point) => chart.lines.some(([, field]) => point[field]);
            if (!this.points.some(known)) {
                box.innerHTML = "<p class=\"noa-chart-empty\">No request in this time.</p>";
                return [];
            }
            const canvas = document.createElement("canvas");
            canvas.setAttribute("role", "img");
            canvas.setAttribute("aria-label", `${chart.title}: a chart of ${chart.lines.map(([label]) => label).join(", ")}`);
            box.replaceChildren(canvas);
            return [new Chart(canvas, {
                type: chart.type,
                data: { labels: this.points.map((point) => moment(point.at, this.window)), datasets: sets(chart, this.points) },
                options: options(chart),
            })];
        }
    }

    const groups = [...document.querySelectorAll("[data-noa-charts]")].map((element) => new Group(element));
    const refresh = () => document.hidden || groups.forEach((group) => group.load());
    refresh();
    setInterval(refresh, REFRESH);
    document.addEventListener("visibilitychange", refresh);
    // The colours depend on the theme.
    new MutationObserver(() => groups.forEach((group) => group.points && group.draw()))
        .observe(document.documentElement, { attributes: true, attributeFilter: ["class"] });
})();
