"""Dataset of table rows that are drawn by a rule, for tests and first steps without files."""

from __future__ import annotations

import torch
from pydantic import Field

from gankit import Dataset, Settings, hookimpl
from gankit_plugins.data.table_files import Cells
from gankit_plugins.data.table_rows import TableRows, dataset_of

JOBS = ("driver", "engineer", "nurse", "pilot")
SHARES = (0.5, 0.27, 0.2, 0.03)
"""Proportions of the jobs. The last one is rare."""

YEARS = (3.0, 6.0, 4.0, 9.0)
"""Mean number of years of training for each job."""


def draw_table(count: int, seed: int) -> Cells:
    """Draw the rows of a table of invented persons.

    - `age` has two modes: a third of the persons is about 24, the others are about 50.
    - `years` of training depends on the job, and never exceeds the age minus 16.
    - `income` grows with age and years. A tenth of the values is missing.
    - `commute` in km is log-normal, and 0 for a third of the persons, who work at home.
    - `member` is true exactly if the income, known or not, is above 50 and the age is above 30.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal() -> torch.Tensor:
        return torch.randn(count, generator=generator)

    def uniform() -> torch.Tensor:
        return torch.rand(count, generator=generator)

    job = torch.multinomial(torch.tensor(SHARES), count, replacement=True, generator=generator)
    age = torch.where(uniform() < 1 / 3, 24 + 2.5 * normal(), 50 + 7 * normal()).clamp(18, 80).round()
    years = (torch.tensor(YEARS)[job] + normal()).clamp(min=0)
    years = torch.minimum(years, age - 16).round(decimals=1)
    income = (12 + 0.6 * age + 2.5 * years + 4 * normal()).round(decimals=2)
    commute = torch.where(uniform() < 1 / 3, 0, (2.3 + 0.6 * normal()).exp()).round()
    member = (income > 50) & (age > 30)
    missing = uniform() < 0.1
    return {
        "age": [f"{value:.0f}" for value in age.tolist()],
        "job": [JOBS[index] for index in job.tolist()],
        "years": [f"{value:.1f}" for value in years.tolist()],
        "income": ["" if gone else f"{v:.2f}" for v, gone in zip(income.tolist(), missing.tolist(), strict=True)],
        "commute": [f"{value:.0f}" for value in commute.tolist()],
        "member": ["yes" if value else "no" for value in member.tolist()],
    }


class DrawnTable(TableRows):
    """Table of invented persons, drawn by a rule: correlated numbers, two modes, a rare word, and missing cells.

    The columns are age, job, years, income, commute and member. One tenth of the incomes is missing, 3% of the persons
    are pilots, and `member` follows from age and income.

    Source: none.

    When to use: for first steps with tables, and for tests.
    When not: for your own rows; use `table`.
    """

    name = "drawn_table"

    class Config(Settings):
        count: int = Field(20_000, ge=10, le=10_000_000, description="number of rows")
        seed: int = Field(0, ge=0, lt=2**63, description="random seed of the rows; independent of the run's seed")

    config: Config

    @hookimpl
    def load_data(self) -> Dataset:
        return dataset_of(draw_table(self.config.count, self.config.seed), {}, ("",))
