mod faults;
mod following;
mod matching;
mod nonsense;
mod polling;
mod refusing;
mod serving;
mod wild;
