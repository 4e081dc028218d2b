"""Functions of the project that tests call; their lines are the ones to blame."""

import time
from time import sleep


def nap():
    sleep(0.001)  # expect: TRU251 time.sleep x4


def by_default(seconds, sleep=time.sleep):
    sleep(seconds)  # expect: TRU251 time.sleep


class Client:
    wait = time.sleep
    pause = staticmethod(time.sleep)

    def go(self):
        self.wait(0.001)  # expect: TRU251 time.sleep
        self.pause(0.001)  # expect: TRU251 time.sleep
