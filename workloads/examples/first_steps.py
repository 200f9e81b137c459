# ruff: noqa: B018, D100, T201  (a cell shows what it ends in)
# %% [markdown]
# # First steps with accelsim
#
# Cells of a notebook, which editors run one by one; `jupytext --to notebook examples/first_steps.py` makes a notebook
# of them. There, a cell that ends in a result shows it as a table, and, after `%matplotlib inline`, figures show, too.

# %%
import accelsim as acs

trace = acs.load_trace("resnet9_cifar10")
design = acs.load_design("sat_vcu1525")

# %% [markdown]
# One training step under BDWP at 2:8: how much faster is it than dense training, and where does the time go?

# %%
result = acs.simulate(trace, design, method="bdwp", pattern="2:8", batch=128)
print(f"{result.step.speedup:.2f}x over dense training; WU takes {result.stages['WU'].latency_s * 1e3:.1f} ms")
result

# %% [markdown]
# Methods and patterns side by side; frames for whatever else you want to know.

# %%
results = acs.compare(trace, design, methods=["dense", "sr-ste", "bdwp"], patterns=["2:4", "2:8"], batch=128)
print(results.to_frame()[["method", "pattern", "latency_s", "speedup"]].to_string(index=False))
results

# %%
print(result.to_frame().nlargest(3, "cycles")[["name", "stage", "dataflow", "cycles"]].to_string(index=False))

# %% [markdown]
# Figures are matplotlib figures: change them, save them.

# %%
figure = acs.plot(results, "speedup", width="single")
figure.savefig("speedup.png")

# %%
acs.plot(result, "utilisation").savefig("utilisation.pdf")

# %% [markdown]
# A whole training run, with a recipe that makes the network sparser step by step.

# %%
run = acs.simulate_training(trace, design, method="stepwise-decay", pattern="2:8", batch=128, epochs=60,
                            dataset_size=50_000)  # fmt: skip
print(f"{run.title}: {run.totals.latency_s / 3600:.1f} h, {run.totals.speedup:.2f}x over dense")
run

# %% [markdown]
# Everything about a comparison as one page for a browser.

# %%
page = acs.write_report("my_report", results, [design], traces=[trace])
print(page)
