"The same with the gradients of page 9, without autograd."

from contenders import ours

from mnist_walkthrough.gradients import HandLearner


class Contender(ours.Contender):
    learner = HandLearner
