mod chaos;
mod following;
mod matching;
mod polling;
mod refusing;
mod serving;
