"""Learning-rate schedule plugins. They multiply the learning rate of an optimiser by a factor in each iteration."""
