from tinyheap.budgets.budget import Budget as Budget, BudgetLimit as BudgetLimit
from tinyheap.budgets.checking import Check as Check, Checks as Checks, CheckVerdict as CheckVerdict, check as check
from tinyheap.budgets.kept import KeptMeasurements as KeptMeasurements
from tinyheap.budgets.making import budget_of as budget_of
from tinyheap.budgets.measuring import Measurement as Measurement, SiteShare as SiteShare, measure as measure
from tinyheap.budgets.quantities import Quantity as Quantity, Unit as Unit
