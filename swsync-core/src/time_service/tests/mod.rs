mod faults;
mod following;
mod matching;
mod polling;
mod refusing;
mod serving;
mod wild;
