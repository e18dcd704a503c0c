# in: all tables of the study
# out: report/headline.parquet and .html (numbers and verdicts), report/findings.json (answers and verdicts),
#      report/first_page.rst (the start of the report); figures/<figure>.pdf and .png; report/samples.html (generated text, escaped; only with report.show_samples);
#      report/study.html (settings, versions, provenance), manifest.json (checksums of all of the study's files, for
#      `make verify`); `make report` combines pages and figures
from alignment_limits.report.figures import table as drawn
from alignment_limits.report.pages import table as written
from alignment_limits.report.tradeoffs import ANSWERS
from alignment_limits.tables.estimates import ESTIMATORS, made_for

if not STUDY.learning:
    # tables of trade-offs that the first page speaks of
    told = [name for name in made_for(STUDY) if name in ANSWERS]

    rule headline:
        input:
            **{name: results(ESTIMATORS[name].path) for name in told},
            frontier=results("limits/frontier.parquet"),
            best_of_n=results("limits/best_of_n.parquet"),
            over_optimisation=results("limits/over_optimisation.parquet"),
            scales=results("ensembles/scales.parquet"),
            standardised=results("ensembles/standardised.parquet"),
            summary=[] if STUDY.scores else results("samples/summary.parquet"),
            tempered=results("limits/tempered.parquet") if STUDY.tempered else [],
        output:
            table=results("report/headline.parquet"),
            html=report(
                results("report/headline.html"),
                caption="../report/headline.rst",
                category="0 Summary",
                labels={"page": "headline numbers"},
            ),
            findings=results("report/findings.json"),
        log:
            results("logs/headline/headline.log"),
        benchmark:
            results("benchmarks/headline/headline.tsv")
        conda:
            ENVIRONMENT
        params:
            p={
                "gold": STUDY.gold,
                "proxies": STUDY.proxies,
                "members": {name: e.members for name, e in STUDY.ensembles.items()},
                "notes": {name: r.note for name, r in STUDY.rewards.items() if r.note},
            }
            | ({"units": STUDY.units} if STUDY.units == "raw" else {}),
            code=code("headline.py"),
        script:
            "../scripts/headline.py"

    rule first_page:
        input:
            findings=rules.headline.output.findings,
            figure=results("figures/frontier.png"),
            policies=(
                results("policies/policies.parquet") if STUDY.all_policies else []
            ),
        output:
            rst=results("report/first_page.rst"),
        log:
            results("logs/first_page/first_page.log"),
        benchmark:
            results("benchmarks/first_page/first_page.tsv")
        localrule: True
        conda:
            ENVIRONMENT
        params:
            p={"gold": STUDY.gold},
            code=code("first_page.py"),
        script:
            "../scripts/first_page.py"

    TABLES += [results("report/headline.parquet")]
    MADE += [*rules.headline.output, *rules.first_page.output]


if STUDY.report.show_samples:

    rule sample_page:
        input:
            prompts=results("prompts.parquet"),
            samples=LAYOUT.shards("samples/{chunk}-{block}.parquet"),
            standardised=results("ensembles/standardised.parquet"),
        output:
            html=report(
                results("report/samples.html"),
                caption="../report/sample_page.rst",
                category="4 Generated text",
                labels={"page": "samples (may offend)"},
            ),
        log:
            results("logs/sample_page/sample_page.log"),
        benchmark:
            results("benchmarks/sample_page/sample_page.tsv")
        conda:
            ENVIRONMENT
        params:
            p={"gold": STUDY.gold},
            code=code("sample_page.py"),
        script:
            "../scripts/sample_page.py"

    MADE += rules.sample_page.output


FIGURES_OF = drawn.figures_of(STUDY, made_for(STUDY))

for NAME, FIGURE in FIGURES_OF.items():

    rule:
        name:
            f"figure_{NAME}"
        input:
            **{k: results(path) for k, path in drawn.tables_of(FIGURE, STUDY).items()},
        output:
            pdf=results(f"figures/{NAME}.pdf"),
            png=report(
                results(f"figures/{NAME}.png"),
                caption="../report/caption.rst",
                category=FIGURE.category,
                labels={"figure": FIGURE.label},
            ),
        log:
            results(f"logs/figure_{NAME}/figure.log"),
        benchmark:
            results(f"benchmarks/figure_{NAME}/figure.tsv")
        localrule: NAME != "reward_distributions"  # this one reads all scores
        conda:
            ENVIRONMENT
        params:
            figure=NAME,
            p=drawn.settings_of(FIGURE, STUDY) | {"caption": caption(FIGURE, STUDY)},
            code=code("figure.py", FIGURE.module),
        script:
            "../scripts/figure.py"


MADE += [
    results(f"figures/{name}.{kind}") for name in FIGURES_OF for kind in ("pdf", "png")
]


for NAME, PAGE in written.pages_of(STUDY).items():

    rule:
        name:
            NAME
        input:
            **{k: results(path) for k, path in written.tables_of(NAME, STUDY).items()},
        output:
            html=report(
                results(f"report/{PAGE.file}"),
                caption="../report/caption.rst",
                category=PAGE.category,
                labels={"page": PAGE.label},
            ),
        log:
            results(f"logs/{NAME}/{NAME}.log"),
        benchmark:
            results(f"benchmarks/{NAME}/{NAME}.tsv")
        localrule: True
        conda:
            ENVIRONMENT
        params:
            page=NAME,
            p=written.settings_of(NAME, STUDY) | {"caption": caption(PAGE, STUDY)},
            code=code("page.py"),
        script:
            "../scripts/page.py"


MADE += [results(f"report/{page.file}") for page in written.pages_of(STUDY).values()]


rule study_card:
    input:
        tables=TABLES,
        preflights=[file for file in MADE if file == results("preflight/rewards.json")],
    output:
        html=report(
            results("report/study.html"),
            caption="../report/study_card.rst",
            category="0 Summary",
            labels={"page": "settings, versions, provenance"},
        ),
    log:
        results("logs/study_card/study_card.log"),
    benchmark:
        results("benchmarks/study_card/study_card.tsv")
    localrule: True
    conda:
        ENVIRONMENT
    params:
        p={"study": STUDY.model_dump(exclude_none=True)},
        code=code("study_card.py"),
    script:
        "../scripts/study_card.py"


rule manifest:
    input:
        # for shards, the study's own links to them
        [f for f in MADE if f.startswith(results("")) and "/preflight/" not in f],
        rules.study_card.output,
    output:
        manifest=results("manifest.json"),
    log:
        results("logs/manifest/manifest.log"),
    benchmark:
        results("benchmarks/manifest/manifest.tsv")
    localrule: True
    conda:
        ENVIRONMENT
    params:
        p={"study": STUDY.study},
        code=code("manifest.py"),
    script:
        "../scripts/manifest.py"
