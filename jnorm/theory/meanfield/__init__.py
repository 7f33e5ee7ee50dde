"""Mean-field theory."""
from jnorm.theory.meanfield._correlations import CorrelationMap as CorrelationMap
from jnorm.theory.meanfield._correlations import DepthScales as DepthScales
from jnorm.theory.meanfield._correlations import correlation as correlation
from jnorm.theory.meanfield._correlations import correlation_map as correlation_map
from jnorm.theory.meanfield._correlations import depth_scales as depth_scales
from jnorm.theory.meanfield._layers import RandomWeights as RandomWeights
from jnorm.theory.meanfield._layers import layer_map as layer_map
from jnorm.theory.meanfield._lengths import Slopes as Slopes
from jnorm.theory.meanfield._lengths import chi as chi
from jnorm.theory.meanfield._lengths import length as length
from jnorm.theory.meanfield._lengths import slopes as slopes
from jnorm.theory.meanfield._phases import PhaseDiagram as PhaseDiagram
from jnorm.theory.meanfield._phases import critical_line as critical_line
from jnorm.theory.meanfield._phases import phase_diagram as phase_diagram
