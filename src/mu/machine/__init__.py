"""State machines, which the coordinator's loop drives; `mu.machine.state` explains how they move."""

from mu.machine.chain import ended as ended
from mu.machine.enter import Constructor as Constructor
from mu.machine.enter import enter as enter
from mu.machine.enter import enter_fitting as enter_fitting
from mu.machine.enter import successor as successor
from mu.machine.info import INFO_BYTES as INFO_BYTES
from mu.machine.info import set_info as set_info
from mu.machine.part_number import ListedNumber as ListedNumber
from mu.machine.part_number import listed as listed
from mu.machine.state import Beginning as Beginning
from mu.machine.state import ErrorState as ErrorState
from mu.machine.state import MachineState as MachineState
from mu.machine.state import TerminalState as TerminalState
from mu.machine.state import broken as broken
from mu.machine.state import checked as checked
from mu.machine.state import handled as handled
from mu.machine.state import misused as misused
from mu.machine.state import out_of_memory as out_of_memory
from mu.machine.state import settle as settle
from mu.machine.state import tell as tell
from mu.machine.state import unexpected as unexpected
from mu.machine.texts import CLOSED as CLOSED
from mu.machine.texts import constructor_name as constructor_name
from mu.machine.texts import described as described
from mu.machine.texts import refusal as refusal
from mu.machine.texts import state_name as state_name
