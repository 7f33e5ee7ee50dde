"""Why does my network not train? What `jnorm.measure.doctor` looks for, and what it answers.

The catalogue is data: an entry is a `Mistake`, whose function gets a `Patient` and returns a `Sign` where it sees
something. Entries stand in the order in which causes come before what they cause.

>>> def narrow(patient):
...     width = min(product.units for product in patient.products[:-1])
...     return Sign(f"a hidden layer has {width} units", sure=False) if width < 4 else None
>>> mine = Mistake("bottleneck", "model", narrow, "make it wider")
>>> longer = (*CATALOGUE, mine)  # for doctor(..., catalogue=longer)
>>> longer[-1].name
'bottleneck'
"""

from jnorm.measure.diagnosis._catalogue import CATALOGUE, Mistake
from jnorm.measure.diagnosis._findings import Diagnosis, Finding, Sign
from jnorm.measure.diagnosis._graph import Graph, Product
from jnorm.measure.diagnosis._patient import Patient, Reading

__all__ = ["CATALOGUE", "Diagnosis", "Finding", "Graph", "Mistake", "Patient", "Product", "Reading", "Sign"]
